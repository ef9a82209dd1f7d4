"""The page of all keys, ``docs/reference.md``: ``python -m bert_ft.config.reference > docs/reference.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

from bert_ft.config.conf_files import SWEEPER, Key, read
from bert_ft.config.help_text import sets_of
from bert_ft.config.sections import Section, sections
from bert_ft.verbs import VERBS

_TOP = """\
# Every key

Written from the comments in `conf/` by `python -m bert_ft.config.reference`; don't edit it by hand. In a terminal,
`bert_ft VERB --help` shows the same, and `bert_ft VERB --help WORD` what is about a word. A group is chosen by its name
(`loss=focal`), a key by its full name (`loss.gamma=1.5`). … is a value that you must give.
"""


def reference_page() -> str:
    """Return the page as Markdown."""
    return "\n".join([_TOP, *_lines()]).rstrip() + "\n"


def _lines() -> Iterator[str]:
    printed: set[tuple[str, str]] = set()  # names and values, of verbs with groups
    for verb in VERBS:
        found = sections(verb)
        if any(section.title == SWEEPER for section in found):  # its own groups exist only with a choice
            searching = sections(verb, {SWEEPER: "optuna"})
            found += [section for section in searching if section.title.startswith(f"{SWEEPER}/")]
        if not any(section.keys for section in found):
            continue
        yield f"## bert_ft {verb}\n"
        yield f"{_cell(read(verb).description.splitlines()[0])}\n"
        same = []
        for section in found:
            fresh = _without(section, printed)
            if fresh.keys or fresh.others or (section.title and not printed):
                yield from _section(fresh)
            elif section.title:
                same.append(section)
        if same:
            names = (f"`{section.title.partition('=')[0]}`" for section in same)
            yield f"As above: {', '.join(names)}.\n"
        if len(found) > 1:
            keys = (key for section in found for key in (*section.keys, *_of_others(section)))
            printed |= {(key.name, key.value) for key in keys}


def _without(section: Section, printed: Set[tuple[str, str]]) -> Section:
    """Return the section without the keys that are on the page, and without its other choices if they add no key."""
    keys = tuple(key for key in section.keys if (key.name, key.value) not in printed)
    is_known = printed and all((key.name, key.value) in printed for key in _of_others(section))
    return replace(section, keys=keys, others=() if is_known else section.others)


def _of_others(section: Section) -> list[Key]:
    return [key for other in section.others for key in other.adds]


def _section(section: Section) -> Iterator[str]:
    group, _, choice = section.title.partition("=")
    if group:
        yield f"### {group}\n"
    if choice:
        yield f"`{section.title}` (the default): {_cell(section.description)}\n"
    yield from _table(section.keys)
    for other in section.others:
        sets = f" Sets `{sets_of(other)}`." if other.sets else ""
        yield f"`{group}={other.name}`: {_cell(other.description)}{sets}\n"
        yield from _table(other.adds)


def _table(keys: Sequence[Key]) -> Iterator[str]:
    if keys:
        yield "| key | default | meaning |\n|---|---|---|"
        for key in keys:
            value = f"`{_cell(key.value)}`" if key.value else ""
            yield f"| `{key.name}` | {value.replace('???', '…')} | {_cell(key.comment)} |"
        yield ""


def _cell(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return "<br>".join(line.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*") for line in lines)


if __name__ == "__main__":
    print(reference_page(), end="")
