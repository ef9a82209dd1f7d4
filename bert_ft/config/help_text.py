"""The help of a verb in a terminal: every key with its value and what it means."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from rich.console import Console
from rich.text import Text

from bert_ft.config.conf_files import Key, compose, overrides_of, read
from bert_ft.config.sections import Choice, Section, sections
from bert_ft.errors import ConfigError

_WIDEST = 100  # columns
_ITEM = re.compile(r" +\S+ {2,}(?=\S)")  # of a list: a value, and behind it what it does
_FLAGS = """\
Flags:
  --help WORD...     only what is about these words, e.g. --help class weights
  --help loss=focal  only what this choice changes
  --cfg job          print the composed configuration and stop
  --multirun         run once for each combination of key=value1,value2
  --config-dir DIR   also read configuration files of your own
  -sc install=bash   print what makes <Tab> complete groups, choices and keys
                     (also zsh, fish): eval "$(bert_ft -sc install=bash)"
  --version          print the version"""


def print_help(verb: str, words: Sequence[str]) -> None:
    """Print what ``bert_ft <verb> --help words`` asks for.

    Args:
        verb: the verb.
        words: choices of groups (``model=bert_linear``), which are shown with all that they change; other words leave only
            the keys and choices that have all of them in their name, value or comment.

    Raises:
        ConfigError: a group has no such choice, or nothing has the words.
    """
    chosen, wanted = _read_words(verb, words)
    console = Console(highlight=False)
    width = min(console.width, _WIDEST) if console.is_terminal else 80
    found = list(_lines(verb, chosen, wanted, width))
    if wanted and not any(style == "cyan" for style, _ in found):
        names = {name.rpartition(".")[2] for name in compose(verb).keys}
        close = get_close_matches(wanted[0], names, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"--help {' '.join(wanted)}: no key, value or comment has these words{hint}")
    for style, line in found:
        if console.is_terminal:
            console.print(Text(line, style), soft_wrap=True)
        else:
            print(line)
    sys.stdout.flush()


def _read_words(verb: str, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    groups = {group.name: group for group in compose(verb).groups}
    chosen: dict[str, str] = {}
    wanted = []
    for word in words:
        name, _, value = word.partition("=")
        if name in groups and value:
            if value not in groups[name].choices:
                raise ConfigError(
                    f"{word}: {name} has no such choice; it has {', '.join(groups[name].choices)}"
                )
            chosen[name] = value
        else:
            wanted.append(name.lower())
    return chosen, wanted


def _lines(verb: str, chosen: dict[str, str], wanted: Sequence[str], width: int) -> Iterator[tuple[str, str]]:
    """Yield style and text of each line."""
    found = sections(verb, chosen)
    has_groups = len(found) > 1
    if wanted:  # names are what most look for
        found.sort(key=lambda section: not any(_has(key.name, wanted) for key in section.keys))
    elif chosen:
        found = list(_changed(verb, chosen, found))
    else:
        yield from _wrapped(read(verb).description, 0, width)
        yield "", ""
        yield "", f"Usage: bert_ft {verb}{' [group=choice]' * has_groups} [key=value] ..."
    for section in found:
        lines = list(_section(section, wanted, width))
        if lines:
            yield "", ""
            yield "bold", section.title or ("Keys outside of groups" if has_groups else "Keys")
            yield from lines
    if not (wanted or chosen):
        yield "", ""
        for line in _FLAGS.splitlines():
            if has_groups or not line.strip().startswith(("--multirun", "--help loss")):
                yield "", line


def _changed(verb: str, chosen: Mapping[str, str], found: Sequence[Section]) -> Iterator[Section]:
    """Yield the sections of the chosen groups, and of the others the keys that aren't as by default."""
    sets: dict[str, str] = {}  # groups that the choices set
    for name, choice in chosen.items():
        sets |= overrides_of(f"{name.partition('@')[0]}/{choice}")
    before = compose(verb, sets).keys
    for section in found:
        name = section.title.partition("=")[0]
        if name in chosen:
            also = overrides_of(f"{name.partition('@')[0]}/{chosen[name]}")
            lines = [section.description, *(f"sets {group}={choice}" for group, choice in also.items())]
            yield replace(section, description="\n".join(lines), others=())
        elif keys := tuple(
            key
            for key in section.keys
            if (was := before.get(key.name)) is None or (was.value, was.reason) != (key.value, key.reason)
        ):
            yield replace(section, keys=keys, others=())


def _section(section: Section, wanted: Sequence[str], width: int) -> Iterator[tuple[str, str]]:
    if section.description and not wanted:
        yield from _wrapped(section.description, 2, width)
    for key in sorted(section.keys, key=lambda key: key.value != "???"):  # first what must be given
        yield from _key(key, wanted, 2, width)
    group = section.title.partition("=")[0]
    for other in section.others:
        added = [line for key in other.adds for line in _key(key, wanted, 6, width)]
        title = f"or {group}={other.name}"
        if added or _has(f"{group}={other.name} {other.description}", wanted):
            yield "cyan", f"  {title}"
            yield from _wrapped(other.description, 6, width)
            if other.sets and not wanted:
                yield from _wrapped(f"sets {sets_of(other)}", 6, width)
            yield from added


def sets_of(choice: Choice) -> str:
    """Return the values that a choice sets, as words of a command."""
    return ", ".join(f"{key.name}={key.value}".replace("=???", "=…") for key in choice.sets)


def _key(key: Key, wanted: Sequence[str], indent: int, width: int) -> Iterator[tuple[str, str]]:
    if not _has(f"{key.name}={key.value} {key.comment}", wanted):
        return
    value = "… (needed)" if key.value == "???" else key.value
    for _, line in _wrapped(f"{key.name}={value}" if value else f"{key.name}:", indent, width):
        yield "cyan", line
    yield from _wrapped(key.comment, indent + 4, width)


def _wrapped(text: str, indent: int, width: int) -> Iterator[tuple[str, str]]:
    for paragraph in text.splitlines():
        margin = " " * (indent + len(paragraph) - len(paragraph.lstrip()))
        item = _ITEM.match(paragraph)
        for line in textwrap.wrap(
            paragraph.strip(),
            width,
            initial_indent=margin,
            subsequent_indent=" " * (indent + item.end()) if item else margin,
            break_on_hyphens=False,
            break_long_words=False,
        ):
            yield "", line


def _has(text: str, wanted: Sequence[str]) -> bool:
    return all(word in text.lower() for word in wanted)
