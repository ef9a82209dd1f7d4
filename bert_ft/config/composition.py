"""Check a command's overrides before it runs, and report what Hydra refuses together with what ``problems`` finds."""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import CompactHydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from bert_ft.compat.hydra import quoted
from bert_ft.config.check import problems, sections
from bert_ft.config.check_pretraining import unread
from bert_ft.config.paths import conf_dir
from bert_ft.config.rules import RULES, rules_for
from bert_ft.errors import ConfigError
from bert_ft.limits import Rule
from bert_ft.nested import walk
from bert_ft.renamed_keys import move_renamed, override_key, with_new_names

SEARCH = "optuna"  # of hydra/sweeper
LAUNCHERS = ("joblib", "submitit", "ray")  # each one an extra of this package
DATA_IN_MEMORY = "data=_given"  # of callers in Python, who have no file
_MOST_VALUES = 30  # of one override that are composed before a sweep starts: each takes a tenth of a second


def judged(
    config_name: str, overrides: Sequence[str], *, sweep: bool = False, keys: type | None = None
) -> DictConfig:
    """Return the composed configuration with Hydra's own part; for a sweep, the configuration of its first job.

    In a sweep each value of each override is checked, together with the first values of the others. In a search of this
    package a trial gets only the keys that exist with the groups drawn. ``keys``: see ``problems``.

    Raises:
        ConfigError: lists all problems.
    """
    first, rest = _jobs(config_name, overrides) if sweep else (list(overrides), [])
    config = _compose(config_name, first)
    if not isinstance(config, DictConfig):
        others = [override for override in first if not unread(config_name, [override])]
        found = [*unread(config_name, first), *_composition_problems(config, config_name, others, keys)]
        raise ConfigError(listed(found))
    found = [*unread(config_name, overrides), *problems(config, keys)]
    for job in (first, *rest):
        found += _partial_choices(job)
    for job in rest:
        other = _compose(config_name, job)
        found += problems(other, keys) if isinstance(other, DictConfig) else [_one_line(other)]
    if found:
        raise ConfigError(listed(list(dict.fromkeys(found))))
    return config


def listed(found: Sequence[str]) -> str:
    """Return one problem unchanged, several as a list under their count."""
    if len(found) == 1:
        return found[0]
    return "\n".join([f"{len(found)} problems in the configuration:", *(f"  {line}" for line in found)])


def missing(error: MissingConfigException) -> str:
    """Return what Hydra says of a choice that a group doesn't have, with the choices that are a user's."""
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    if not group or not error.options:
        return " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return _no_such_choice(group, choice, error.options)


def _no_such_choice(group: str, choice: str, names: Iterable[str]) -> str:
    options = [name for name in names if not name.startswith("_")]
    close = difflib.get_close_matches(choice, options, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{group}={choice}: {group} has no such choice; {hint}it has {', '.join(options)}"


def _partial_choices(overrides: Iterable[str]) -> Iterator[str]:
    """Yield a problem for each override that chooses a file which is only a part of others."""
    for override in overrides:
        name, _, choice = override.partition("=")
        folder = conf_dir() / name.partition("@")[0]
        if override != DATA_IN_MEMORY and choice.startswith("_") and (folder / f"{choice}.yaml").is_file():
            yield _no_such_choice(name, choice, sorted(path.stem for path in folder.glob("*.yaml")))


def first_job(config_name: str, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a sweep's first job; ranges without a first value are left out.

    Raises:
        ConfigError: an override can't be read.
    """
    return _jobs(config_name, overrides)[0]


def with_conditional_choices(config_name: str, overrides: Sequence[str]) -> list[str]:
    """Return a search's overrides, with ``key=choice(value)`` for ``key=value`` if only some trials have the key.

    Hydra would set a single value in all of them.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException:
        return list(overrides)  # which is refused later
    is_search = any(each.key_or_group == "hydra/sweeper" and each.value() == SEARCH for each in parsed)
    if not is_search or all("." in each.key_or_group for each in parsed if each.is_discrete_sweep()):
        return list(overrides)
    swept = [each.is_sweep_override() for each in parsed]
    values = [
        "." in each.key_or_group and not (is_swept or each.is_add() or each.is_delete())
        for each, is_swept in zip(parsed, swept, strict=True)
    ]
    judged_by = zip(overrides, swept, values, strict=True)
    config = _compose(
        config_name, [text for text, is_swept, is_value in judged_by if not (is_swept or is_value)]
    )
    if not isinstance(config, DictConfig):
        return list(overrides)
    keys = {name for name, _ in walk(OmegaConf.to_container(config, resolve=False))}
    return [
        text.replace("=", "=choice(", 1) + ")" if is_value and each.key_or_group not in keys else text
        for text, each, is_value in zip(overrides, parsed, values, strict=True)
    ]


def _jobs(config_name: str, overrides: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the job with the first value of every override, and one job for each other value of an override."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise ConfigError(_unreadable(error)) from error
    choices = []
    drawn: dict[str, str] = {}  # override → its key, if some trials may lack it
    is_search = any(each.key_or_group == "hydra/sweeper" and each.value() == SEARCH for each in parsed)
    for text, override in zip(overrides, parsed, strict=True):
        if not override.is_sweep_override():
            choices.append([text])
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            values = [f"{key}={value}" for value in _some(override)]
            if not values:
                raise ConfigError(
                    f"{text}: this range is empty; it starts at its first value and excludes its last"
                )
            choices.append(values)
            if is_search and "." in override.key_or_group and not override.is_add():
                drawn |= dict.fromkeys(values, override.key_or_group)
        # an interval has no values to list: its sampler draws them
    first = [values[0] for values in choices]
    rest = [
        [*first[:position], value, *first[position + 1 :]]
        for position, values in enumerate(choices)
        for value in values[1:]
    ]
    if not drawn:
        return first, rest
    keys: dict[tuple[str, ...], set[str]] = {}

    def as_drawn(job: list[str]) -> list[str]:
        others = tuple(override for override in job if override not in drawn)
        if others not in keys:
            config = _compose(config_name, others)
            plain = OmegaConf.to_container(config, resolve=False) if isinstance(config, DictConfig) else {}
            keys[others] = {name for name, _ in walk(plain)}
        return [override for override in job if override not in drawn or drawn[override] in keys[others]]

    return as_drawn(first), [as_drawn(job) for job in rest]


def _some(override: Override) -> list[str]:
    """Return the values to check: both ends of a range, and at most ``_MOST_VALUES`` of a choice."""
    value = override.value()
    if isinstance(value, RangeSweep) and not value.transformers:
        first = next(iter(value.range()), None)
        if first is None:
            return []
        steps = math.ceil((value.stop - first) / value.step) - 1
        return list(dict.fromkeys([str(first), str(round(first + steps * value.step, 12))]))
    values = list(override.sweep_string_iterator())
    return [*values[: -1 : math.ceil(len(values) / _MOST_VALUES) or 1], *values[-1:]]


def _composition_problems(
    error: Exception, config_name: str, overrides: Sequence[str], keys: type | None
) -> list[str]:
    """Return all overrides that Hydra refuses (it names only the first), and problems of the others."""
    config = _compose(config_name, [])
    if not isinstance(config, DictConfig):  # a broken file under conf/, which no override can repair
        return [_one_line(error)]
    groups = config.hydra.runtime.choices
    accepted: list[str] = []
    found: list[str] = []
    # as Hydra applies them: where groups are found, groups, values
    order = {
        override: (override_key(override) != "hydra.searchpath", override_key(override) not in groups)
        for override in overrides
    }
    for override in sorted(overrides, key=order.__getitem__):
        attempt = _compose(config_name, [*accepted, override])
        if isinstance(attempt, DictConfig):
            accepted.append(override)
            config = attempt
        else:
            found.append(_refused(override, attempt, config))
    refused = {override_key(line) for line in found}
    others = [problem for problem in problems(config, keys) if problem.split(": required")[0] not in refused]
    return found + others


def _compose(config_name: str, overrides: Sequence[str]) -> DictConfig | Exception:
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        try:
            config = hydra.compose(config_name, with_new_names(overrides), return_hydra_config=True)
        except (CompactHydraException, ValueError) as error:  # ValueError: a group is set to null
            return error
    move_renamed(config)
    return config


def _refused(override: str, error: Exception, config: DictConfig) -> str:
    key = override_key(override)
    if isinstance(error, OverrideParseException):
        return _unreadable(error, rules_for(sections(config)))
    launcher = override.partition("=")[2].split("_")[0]
    if key == "hydra/launcher" and launcher in LAUNCHERS:
        return f"{override}: isn't installed; pip install 'bert_ft[{launcher}]'"
    if isinstance(error, MissingConfigException):
        return missing(error)
    if "not in struct" not in str(error) and "Could not override" not in str(error):
        return f"{override}: {_one_line(error)}"
    if key.startswith("hydra.sweeper.") and config.hydra.runtime.choices.get("hydra/sweeper") != SEARCH:
        return f"{override}: belongs to a search; add hydra/sweeper={SEARCH}"
    names = [name for name, _ in walk(OmegaConf.to_container(config, resolve=False))]
    same_leaf = [name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]]
    suggested = difflib.get_close_matches(key, same_leaf, n=1, cutoff=0) or difflib.get_close_matches(
        key, names, n=1, cutoff=0.6
    )
    hint = f"; did you mean {suggested[0]}?" if suggested else "; --cfg job lists the keys"
    return f"{override}: there is no key {key}{hint}"


def _unreadable(error: OverrideParseException, rules: Mapping[str, Rule] = RULES) -> str:
    """Return a message for a word that Hydra's grammar can't parse; for a text key, with an example that works."""
    key, equals, value = error.override.partition("=")
    if not equals:
        return f"{error.override}: isn't key=value; --help explains the keys"
    found = f"{error.override}: Hydra's grammar can't parse it"
    choices = re.fullmatch(r"choice\((.*\bnull\b.*)\)", value)
    if choices:
        return f"{found}, since choice(...) takes no null; write {key}={choices[1]}"
    rule = rules.get(override_key(error.override))
    if not value or (rule is not None and rule.kind not in ("text", "list of texts", "any")):
        return found
    example = shlex.quote(f"{key}={quoted(value)}")
    return f"{found}; quote a text for Hydra and for the shell, e.g. {example}"


def _one_line(error: Exception) -> str:
    if isinstance(error, MissingConfigException):
        return missing(error)
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())
