"""The files of ``conf/`` as a reader sees them: keys with their values and comments, groups with their choices.

Nothing is composed by Hydra, so that help and completion answer at once. A comment stands behind its key or in the lines just
above it; the lines at the top of a file describe the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import yaml

from bert_ft.config.paths import conf_dir

GLOBAL = "_global_"
SWEEPER = "hydra/sweeper"  # in Hydra's own list of defaults
_INTERPOLATION = re.compile(r"\$\{([\w.@]+)\}")
_COMMENT = re.compile(r"\s#\s?(.*)$")


@dataclass(frozen=True)
class Key:
    """A key: its full name, the value as the file spells it, what it means, and why a choice sets this value.

    ``folder`` has the file that says what the key means.
    """

    name: str
    value: str
    comment: str = ""
    reason: str = ""
    folder: str = ""


@dataclass(frozen=True)
class Group:
    """A group in a list of defaults: the name that chooses in it, its folder, its package and the choice."""

    name: str
    folder: str
    package: str
    choice: str | None

    @property
    def choices(self) -> dict[str, str]:
        """Return name → description of each choice that is a user's."""
        names = sorted(path.stem for path in (conf_dir() / self.folder).glob("[!_]*.yaml"))
        return {name: read(f"{self.folder}/{name}").description for name in names}


@dataclass
class ConfFile:
    """One file: its description, its package, its list of defaults, and its own keys in order."""

    description: str = ""
    package: str | None = None
    defaults: list[Any] = field(default_factory=lambda: ["_self_"])
    keys: list[Key] = field(default_factory=list)


@dataclass
class Composed:
    """All keys of a configuration by name, and the groups of its list of defaults."""

    keys: dict[str, Key] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def comment(self, name: str) -> str:
        """Return what a key means; without a comment of its own, that of the key that its value or name refers to."""
        key = self.keys.get(name)
        if key is None:
            return ""
        if key.comment:
            return f"{key.comment} (here {key.value}: {key.reason})" if key.reason else key.comment
        if (match := _INTERPOLATION.fullmatch(key.value)) and (target := self.comment(match[1])):
            return f"as {match[1]}: {target}"
        return self.comment(name.removeprefix("pretrain.")) if name.startswith("pretrain.") else ""


@cache
def read(path: str) -> ConfFile:
    """Return the file of a path below ``conf/`` without its suffix; an empty one if there is none."""
    file = conf_dir() / f"{path}.yaml"
    return parse(file.read_text(encoding="utf-8")) if file.is_file() else ConfFile()


def parse(text: str) -> ConfFile:
    """Return the description, package, defaults and keys of a file's text."""
    lines = text.splitlines()
    top = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    package = [line.removeprefix("# @package ") for line in lines[:top] if line.startswith("# @package ")]
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    found = ConfFile(
        description=_joined(line for line in lines[:top] if "@package" not in line),
        package=package[0] if package else None,
    )
    if not isinstance(node, yaml.MappingNode):
        return found
    for key, value in node.value:
        if key.value == "defaults":
            found.defaults = _plain(value)
            if "_self_" not in found.defaults:
                found.defaults.insert(0, "_self_")
    found.keys = list(_keys(text, lines, top, node, ""))
    return found


def compose(name: str, choices: Mapping[str, str] | None = None) -> Composed:
    """Return the keys and groups of ``conf/<name>.yaml`` with its defaults, or with other choices of its groups."""
    given = dict(choices or {})
    for group, choice in _entries(read(name).defaults):
        chosen = given.get(group, choice)
        for other, value in overrides_of(f"{group}/{chosen}").items():
            given.setdefault(other, value)
    composed = Composed()
    _add(composed, name, "", "", given)
    if any(group.folder == "search" for group in composed.groups):
        _add_group(composed, {SWEEPER: None}, "", "", given)
    return composed


def _add(composed: Composed, path: str, package: str, parent: str, choices: Mapping[str, str]) -> None:
    """Add the keys of a file and of those in its list of defaults; ``parent`` is the folder of the file."""
    file = read(path)
    for entry in file.defaults:
        if entry == "_self_":
            for key in file.keys:
                name = f"{package}.{key.name}" if package else key.name
                before = composed.keys.get(name)
                if (
                    before is None
                    or not before.comment
                    or (key.comment and package and parent != before.folder)
                ):
                    composed.keys[name] = Key(name, key.value, key.comment, folder=parent)
                else:  # what it means has been said
                    reason = "" if key.comment == before.comment else key.comment
                    composed.keys[name] = replace(before, value=key.value, reason=reason)
        elif isinstance(entry, str):  # another file of the group
            other, _, placed = entry.partition("@")
            other = other.strip("/") if other.startswith("/") else f"{parent}/{other}"
            _add(composed, other, placed or read(other).package or package, parent, choices)
        else:
            _add_group(composed, entry, package, parent, choices)


def _add_group(
    composed: Composed, entry: Mapping[str, str | None], package: str, parent: str, choices: Mapping[str, str]
) -> None:
    ((word, default),) = entry.items()
    if word.startswith("override "):
        return
    folder, _, placed = word.removeprefix("optional ").partition("@")
    folder = folder.strip("/") if folder.startswith("/") or not parent else f"{parent}/{folder}"
    inside = f"{package}.{placed}" if placed and package else placed
    name = f"{folder}@{inside}" if placed else folder
    choice = choices.get(name, default)
    if choice is not None and "${" in choice:
        choice = None
    where = (placed and inside) or read(f"{folder}/{choice}").package or folder.replace("/", ".")
    composed.groups.append(Group(name, folder, "" if where == GLOBAL else where, choice))
    if choice is not None:
        _add(composed, f"{folder}/{choice}", "" if where == GLOBAL else where, folder, choices)


def _entries(defaults: Sequence[Any]) -> Iterator[tuple[str, str | None]]:
    for entry in defaults:
        if isinstance(entry, dict):
            ((word, choice),) = entry.items()
            yield word.removeprefix("optional ").strip("/"), choice


def overrides_of(path: str) -> dict[str, str]:
    """Return group → choice that a file sets for other groups."""
    return dict(_overrides(read(path).defaults))


def _overrides(defaults: Sequence[Any]) -> Iterator[tuple[str, str]]:
    for group, choice in _entries(defaults):
        if group.startswith("override ") and choice is not None:
            yield group.removeprefix("override ").strip("/"), choice


def _keys(text: str, lines: Sequence[str], top: int, node: yaml.MappingNode, prefix: str) -> Iterator[Key]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if key.value == "defaults" and not prefix:
            continue
        comment = _comment(lines, top, key, value)
        if isinstance(value, yaml.MappingNode) and value.value and not _is_table(value):
            if comment and not key.value.startswith("_"):
                yield Key(name, "", comment)
            yield from _keys(text, lines, top, value, f"{name}.")
        elif not key.value.startswith("_"):
            yield Key(name, _spelled(text, value), comment)


def _is_table(node: yaml.MappingNode) -> bool:
    """Return whether the entries are data, such as the ranges of a search: keys with dots."""
    return all("." in key.value for key, _ in node.value)


def _comment(lines: Sequence[str], top: int, key: yaml.Node, value: yaml.Node) -> str:
    first = key.start_mark.line
    above = first
    while above > top and re.fullmatch(rf" {{{key.start_mark.column}}}#.*", lines[above - 1]):
        above -= 1
    found = list(lines[above:first])
    is_beside = value.start_mark.line == first and not (
        isinstance(value, yaml.ScalarNode) and value.style == "|"
    )
    end = value.end_mark if is_beside else key.end_mark
    if match := _COMMENT.search(lines[end.line][end.column :]):
        found.append(f"# {match[1]}")
    return _joined(found)


def _joined(lines: Iterable[str]) -> str:
    """Return the text of comment lines: those that are indented stay lines, the others are joined.

    A line that is indented further than the one above belongs to it.
    """
    text, indent = "", 0
    for line in lines:
        content = line.strip().removeprefix("#").removeprefix(" ").rstrip()
        before, indent = indent, len(content) - len(content.lstrip())
        if before == indent == 0 or indent > before > 0:
            text += f" {content.lstrip()}" if text else content
            indent = before
        else:
            text += f"\n{content}" if text else content
    return text


def _spelled(text: str, node: yaml.Node) -> str:
    """Return a value as the file has it; of a table or a list in several lines the keys or entries."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return text[node.start_mark.index : node.end_mark.index].strip()
    entries = _plain(node)
    return f"{{{', '.join(entries)}}}" if isinstance(entries, dict) else f"[{', '.join(map(str, entries))}]"


def _plain(node: yaml.Node) -> Any:
    return yaml.SafeLoader("").construct_object(node, deep=True)
