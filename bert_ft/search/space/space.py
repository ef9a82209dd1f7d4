"""What is searched: Hydra's overrides as Optuna's distributions, and a trial's values as overrides again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial

from bert_ft.compat.optuna_sweeper import grid_choices, params_of
from bert_ft.errors import ConfigError


@dataclass(frozen=True)
class Space:
    """What the overrides of a search say.

    Attributes:
        distributions: what is searched, by key.
        fixed: keys with a single value, as it is written.
        deletions: overrides that remove something (``~key``).
    """

    distributions: Mapping[str, BaseDistribution]
    fixed: Mapping[str, str] = field(default_factory=dict)
    deletions: Sequence[str] = ()

    def fixed_overrides(self) -> list[str]:
        """What every trial has, searched values aside."""
        return [f"{key}={value}" for key, value in self.fixed.items()] + list(self.deletions)

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of the trial that has these values."""
        searched = [f"{key}={as_written(value)}" for key, value in params.items() if key not in self.fixed]
        return searched + self.fixed_overrides()

    def to_json(self) -> str:
        """By which two searches are seen to be over the same space."""
        described = {key: json.loads(distribution_to_json(each)) for key, each in self.distributions.items()}
        return json.dumps(described, sort_keys=True)


def space_of(params: Mapping[str, Any], arguments: Sequence[str]) -> Space:
    """The space of ``hydra.sweeper.params`` and of the command line, which goes first.

    Raises:
        ConfigError: an override can't be read, its range is empty, or a logarithm isn't defined on it.
    """
    distributions: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    deletions: list[str] = []
    for text in [*(f"{key}={as_written(value)}" for key, value in params.items()), *arguments]:
        found, values, removed = _read(text)
        for key in {*found, *values, *(text_key(override) for override in removed)}:
            said = {key.lstrip("+"), *_keys_in(key, values.get(key))}
            for known in (distributions, fixed):
                for other in [name for name in known if name.lstrip("+") in said]:
                    del known[other]
        distributions |= found
        fixed |= values
        # a parameter of the configuration's that isn't to be searched, or a key that isn't to be there
        deletions += [override for override in removed if text_key(override) not in params]
    return Space(distributions, fixed, deletions)


def _keys_in(key: str, value: Any) -> Iterator[str]:
    """The keys within a mapping, which is merged into what stands there."""
    content = parsed(value) if isinstance(value, str) and value.startswith("{") else value
    for name, child in content.items() if isinstance(content, dict) else ():
        inner = f"{key.lstrip('+')}.{as_written(name)}"
        yield inner
        yield from _keys_in(inner, child)


def _read(text: str) -> tuple[dict[str, BaseDistribution], dict[str, Any], list[str]]:
    try:
        _check_not_empty(text)
        return params_of([text])
    except (HydraException, ValueError, AssertionError, NotImplementedError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = " ".join(str(error).split())
        raise ConfigError(f"{text}: can't be searched: {reason}; {_ALLOWED}") from error


_ALLOWED = "give choice(a,b), range(a,b), interval(a,b) with a < b, or tag(log,interval(a,b)) with 0 < a < b"


def _check_not_empty(text: str) -> None:
    """Refuse in plain words what Optuna would refuse in its own."""
    override = OverridesParser.create().parse_override(text)
    value: Any = override.value()
    if override.is_range_sweep() and not list(value.range()):
        raise ConfigError(f"{text}: an empty range; it goes from its start up to, and without, its stop")
    if not override.is_interval_sweep():
        return
    low, high = value.start, value.end
    if low > high:
        raise ConfigError(f"{text}: an empty range, since {low} is above {high}; exchange them")
    if "log" in value.tags and low <= 0:
        raise ConfigError(f"{text}: there is no logarithm of {low}; begin above 0, or leave tag(log,...) out")


def text_key(override: str) -> str:
    """The key of an override that is written out, e.g. ``+optimizer.lr`` of ``+optimizer.lr=1``."""
    return override.split("=")[0].lstrip("~")


def as_written(value: Any) -> str:
    """A value as an override has it: ``null`` and ``true`` where Python says None and True."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def parsed(value: str) -> Any:
    """A choice that is written as an override is."""
    return OverridesParser.create().parse_override(f"value={as_written(value)}").value()


def suggest(trial: Trial, key: str, distribution: BaseDistribution) -> Any:
    """The trial's value, drawn by the study's sampler."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            key, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(
        key, distribution.low, distribution.high, step=distribution.step, log=distribution.log
    )


def ends(distribution: BaseDistribution) -> list[Any]:
    """The values that show whether all of them are allowed: every choice, or both ends of a range."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low, distribution.high]


def grid(distributions: Mapping[str, BaseDistribution]) -> dict[str, list[Any]]:
    """All values of each parameter.

    Raises:
        ConfigError: one has infinitely many.
    """
    found = {}
    for key, distribution in distributions.items():
        try:
            found[key] = grid_choices(distribution)
        except ValueError as error:
            raise ConfigError(
                f"{key}: a grid (hydra/sweeper/sampler=grid) needs separate values, not an interval; "
                "give choice(a,b) or range(a,b,step=c)"
            ) from error
    return found
