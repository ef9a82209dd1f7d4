"""What the configuration itself says of the parameters that are searched: the values of a search's first trial."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from bert_ft.compat.optuna import is_in_range
from bert_ft.search.settings import plain_values
from bert_ft.search.space.space import Space, parsed

_ABSENT = object()


def configured(space: Space, config: DictConfig) -> dict[str, Any]:
    """Return the value that each parameter has in a trial's configuration, where that is one of its range."""
    found = {}
    for name, distribution in space.distributions.items():
        value = _in_range(distribution, _value(name, config))
        if value is not _ABSENT:
            found[name] = value
    return found


def _value(name: str, config: DictConfig) -> Any:
    choices = config.hydra.runtime.choices
    if name in choices:
        return choices[name]
    value = OmegaConf.select(config, name, default=_ABSENT)
    return plain_values(value)


def _in_range(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        alike = (choice for choice in distribution.choices if _is_same(_as_value(choice), value))
        return next(alike, _ABSENT)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _ABSENT
    if isinstance(distribution, IntDistribution) and value != int(value):
        return _ABSENT
    return value if is_in_range(distribution, value) else _ABSENT


def _as_value(choice: Any) -> Any:
    value = parsed(choice) if isinstance(choice, str) else choice
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _is_same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
