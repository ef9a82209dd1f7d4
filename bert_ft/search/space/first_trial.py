"""The configured values of the searched parameters, which a search's first trial has."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from bert_ft.compat.optuna import is_in_range
from bert_ft.search.settings import plain_values
from bert_ft.search.space.space import Space
from bert_ft.search.spelling import parsed

_ABSENT = object()


def configured(space: Space, config: DictConfig) -> dict[str, Any]:
    """Return the configured value of each parameter whose range contains it."""
    choices = config.hydra.runtime.choices
    found = {}
    for name, distribution in space.distributions.items():
        value = choices[name] if name in choices else OmegaConf.select(config, name, default=_ABSENT)
        value = _in_range(distribution, plain_values(value))
        if value is not _ABSENT:
            found[name] = value
    return found


def left_null(space: Space, config: DictConfig) -> list[str]:
    """Return the parameters that are null in the configuration, which no range of numbers contains."""
    names = [name for name in space.distributions if name not in config.hydra.runtime.choices]
    nulls = [name for name in names if OmegaConf.select(config, name, default=_ABSENT) is None]
    return [name for name in nulls if _in_range(space.distributions[name], None) is _ABSENT]


def _in_range(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return next((choice for choice in distribution.choices if _is_same(parsed(choice), value)), _ABSENT)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _ABSENT
    if isinstance(distribution, IntDistribution) and value != int(value):
        return _ABSENT
    return value if is_in_range(distribution, value) else _ABSENT


def _is_same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)  # True == 1
