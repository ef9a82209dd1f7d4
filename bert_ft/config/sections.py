"""What the keys of a verb mean, group by group: the content of its help text, and of the page of all keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from bert_ft.config.check_pretraining import unread
from bert_ft.config.conf_files import Composed, Group, Key, compose, overrides_of

# plumbing inside a source, which takes its values from keys beside it
_INTERNAL = ("data.source.", "hydra.output_subdir", "hydra.run.dir=.")
_REPEATED = 10  # keys of a choice that are explained again if another choice of the group has them


@dataclass(frozen=True)
class Choice:
    """Another choice of a group: the keys that it adds, and the groups and keys that it sets to another value."""

    name: str
    description: str
    adds: tuple[Key, ...]
    sets: tuple[Key, ...]


@dataclass(frozen=True)
class Section:
    """A group with its choice and keys, and its other choices; the keys outside of groups have no title."""

    title: str
    description: str
    keys: tuple[Key, ...]
    others: tuple[Choice, ...] = ()


def sections(verb: str, choices: Mapping[str, str] | None = None) -> list[Section]:
    """Return the sections of ``conf/<verb>.yaml``, composed with these choices of its groups."""
    given = dict(choices or {})
    base = compose(verb, given)
    groups = [group for group in base.groups if _is_chosen(group, verb)]
    sections = [
        Section("", "", tuple(_shown(verb, base, (key for key in base.keys if not _home(key, groups)))))
    ]
    for group in groups:
        keys = _shown(verb, base, (key for key in base.keys if _home(key, groups) is group))
        description = group.choices.get(group.choice or "", "")
        title = f"{group.name}={group.choice}" if group.choice else group.name
        others = tuple(_others(verb, base, group, given))
        sections.append(Section(title, description, tuple(keys), others))
    return sections


def choices_of(group: Group, verb: str) -> dict[str, str]:
    """Return name → description of a group's choices for a verb."""
    return {
        name: description
        for name, description in group.choices.items()
        # files named after the sweeper are included by themselves; a stage alone needs a stage
        if not (group.folder == "search" and name.startswith("optuna"))
        and not (verb == group.folder == "pretrain" and name == "none")
    }


def _others(verb: str, base: Composed, group: Group, given: Mapping[str, str]) -> Iterator[Choice]:
    known: dict[str, Key] = {}
    for name, description in choices_of(group, verb).items():
        if name == group.choice:
            continue
        chosen = overrides_of(f"{group.folder}/{name}")
        shown = list(_shown(verb, other := compose(verb, {**given, group.name: name}), other.keys))
        reference = compose(verb, {**chosen, **given}).keys if chosen else base.keys
        added = [key for key in shown if key.name not in reference]
        before = reference if len(added) <= _REPEATED else reference | known
        adds = tuple(key for key in added if key.name not in before)
        sets = [Key(other_group, choice) for other_group, choice in chosen.items()]
        sets += [key for key in shown if key.name in before and key.value != before[key.name].value]
        known |= {key.name: key for key in adds}
        yield Choice(name, description, adds, tuple(sets))


def _is_chosen(group: Group, verb: str) -> bool:
    """Return whether a user chooses in the group: not in those that a verb turns off or includes by itself."""
    return (
        bool(choices_of(group, verb))
        and not group.folder.endswith("/of_pretraining")
        and not (verb == "pretrain" and group.folder in ("loss", "trainer"))
    )


def _home(name: str, groups: Iterable[Group]) -> Group | None:
    homes = [group for group in groups if name.startswith(f"{group.package or group.folder}.")]
    return max(homes, key=lambda group: len(group.package), default=None)


def _shown(verb: str, composed: Composed, names: Iterable[str]) -> Iterator[Key]:
    for name in names:
        key = composed.keys[name]
        if not f"{name}={key.value}".startswith(_INTERNAL) and not unread(verb, [name]):
            yield replace(key, comment=composed.comment(name))
