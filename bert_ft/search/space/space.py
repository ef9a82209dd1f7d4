"""The search space: Hydra's overrides as Optuna's distributions, and a trial's values as overrides."""

from __future__ import annotations

import json
import math
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

from bert_ft.compat.hydra import choices_of
from bert_ft.compat.optuna_sweeper import grid_choices, params_of
from bert_ft.errors import ConfigError, in_one_line
from bert_ft.search.spelling import as_written, parsed, with_quotes

_LARGEST_GRID = 100_000  # points
_ALLOWED = "give choice(a,b), range(a,b), interval(a,b) with a < b, or tag(log,interval(a,b)) with 0 < a < b"


@dataclass(frozen=True)
class Space:
    """The searched, fixed and deleted keys of a search's overrides."""

    distributions: Mapping[str, BaseDistribution]  # the searched keys
    fixed: Mapping[str, str] = field(default_factory=dict)  # keys with a single value, as written
    deletions: Sequence[str] = ()  # overrides that remove something (``~key``)

    def fixed_overrides(self) -> list[str]:
        """Return the overrides that all trials share."""
        return [f"{key}={value}" for key, value in self.fixed.items()] + list(self.deletions)

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Return the overrides of a trial with these values."""
        searched = [f"{key}={as_written(value)}" for key, value in params.items() if key not in self.fixed]
        return searched + self.fixed_overrides()

    def to_json(self) -> str:
        """Return text that is equal for equal spaces."""
        described = {key: json.loads(distribution_to_json(each)) for key, each in self.distributions.items()}
        return json.dumps(described, sort_keys=True)


def space_of(params: Mapping[str, Any], arguments: Sequence[str]) -> Space:
    """Return the space of ``hydra.sweeper.params`` and of the command line, which takes precedence.

    Raises:
        ConfigError: an override can't be read, its range is empty, or it has a logarithm of a value ≤ 0.
    """
    distributions: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    deletions: list[str] = []
    for key, value in params.items():
        if isinstance(value, Mapping) and value:  # +hydra.sweeper.params.optimizer.lr=... makes one
            inner = f"{key}.{next(iter(value))}"
            raise ConfigError(
                f"hydra.sweeper.params.{inner}: is a key within a mapping; on the command line write {inner}=..., and in a "
                f"file '{inner}: ...'"
            )
    for text in [*(f"{key}={as_written(value)}" for key, value in params.items()), *arguments]:
        found, values, removed = _read(text)
        for key in {*found, *values, *(text_key(override) for override in removed)}:
            replaced = {key.lstrip("+"), *_keys_in(key, values.get(key))}
            for known in (distributions, fixed):
                for other in [name for name in known if name.lstrip("+") in replaced]:
                    del known[other]
        distributions |= found
        fixed |= values
        # ~key of a parameter in ``params`` only stops its search; any other ~key removes it from the configuration
        deletions += [override for override in removed if text_key(override) not in params]
    return Space(distributions, fixed, deletions)


def _keys_in(key: str, value: Any) -> Iterator[str]:
    """Yield the keys within a mapping, which is merged into the existing one."""
    content = parsed(value) if isinstance(value, str) and value.startswith("{") else value
    for name, child in content.items() if isinstance(content, dict) else ():
        inner = f"{key.lstrip('+')}.{as_written(name)}"
        yield inner
        yield from _keys_in(inner, child)


def _read(text: str) -> tuple[dict[str, BaseDistribution], dict[str, Any], list[str]]:
    try:
        _check_not_empty(text)
        found, values, removed = params_of([text])
        for key, distribution in found.items():
            # the plugin's choices have lost their quotes
            if isinstance(distribution, CategoricalDistribution):
                found[key] = CategoricalDistribution([with_quotes(each) for each in choices_of(text)])
        return found, values, removed
    except ConfigError:
        raise
    except (HydraException, ValueError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"{text}: can't be searched: {in_one_line(error)}; {_ALLOWED}") from error


def _check_not_empty(text: str) -> None:
    """Refuse what Optuna would also refuse or ignore, with a clearer message."""
    override = OverridesParser.create().parse_override(text)
    value: Any = override.value()
    if override.is_range_sweep() and next(iter(value.range()), None) is None:
        raise ConfigError(f"{text}: an empty range; it starts at its first value and excludes its last")
    if not override.is_interval_sweep():
        if "log" in getattr(value, "tags", ()):
            raise ConfigError(f"{text}: only an interval has a logarithmic scale; {_ALLOWED}")
        return
    low, high = value.start, value.end
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{text}: both ends must be finite numbers")
    if low > high:
        raise ConfigError(f"{text}: an empty range, since {low} is above {high}; swap them")
    if "log" in value.tags and low <= 0:
        raise ConfigError(f"{text}: there is no logarithm of {low}; start above 0, or remove tag(log,...)")


def text_key(override: str) -> str:
    """Return the key of a written override, e.g. ``+optimizer.lr`` of ``+optimizer.lr=1``."""
    return override.split("=")[0].lstrip("~")


def suggest(trial: Trial, key: str, distribution: BaseDistribution) -> Any:
    """Return the trial's value, drawn by the study's sampler."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    draw: Any = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return draw(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def ends(distribution: BaseDistribution) -> list[Any]:
    """Return the values that have to be allowed: all choices, or both ends of a range."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low, distribution.high]


def num_values(distribution: BaseDistribution) -> float:
    """Return how many values there are; infinity for an interval."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return (
        math.inf
        if distribution.step is None
        else round((distribution.high - distribution.low) / distribution.step) + 1
    )


def grid(distributions: Mapping[str, BaseDistribution]) -> dict[str, list[Any]]:
    """Return all values of each parameter.

    Raises:
        ConfigError: a parameter has infinitely many.
    """
    found = {}
    for key, distribution in distributions.items():
        if _LARGEST_GRID < (count := num_values(distribution)) < math.inf:
            raise ConfigError(
                f"{key}: a grid of {count:,} values is too large; give larger steps, or another sampler"
            )
        try:
            found[key] = grid_choices(distribution)
        except ValueError as error:
            raise ConfigError(
                f"{key}: a grid (hydra/sweeper/sampler=grid) needs separate values, not an interval; "
                "give choice(a,b) or range(a,b,step=c)"
            ) from error
    if (points := math.prod(map(len, found.values()))) > _LARGEST_GRID:
        raise ConfigError(
            f"hydra/sweeper/sampler=grid: {points:,} points, which the sampler would list before the first trial; give fewer "
            f"values (at most {_LARGEST_GRID:,} points), or another sampler"
        )
    return found
