"""The first trial of a search: the configuration as it stands, so that the search tells what it has brought."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import _CachedStorage
from optuna.study import Study

from bert_ft.search.space import Space, parsed
from bert_ft.search.storage import locked

AS_CONFIGURED = "as_configured"  # attribute of that trial: the parameters that are drawn nevertheless

_ABSENT = object()


def queue_as_configured(study: Study, storage: _CachedStorage, space: Space, config: DictConfig) -> None:
    """Let a study without trials begin with what is configured; a parameter whose range doesn't have that is drawn.

    Args:
        study: the study.
        storage: its database.
        space: what is searched.
        config: of a trial, searched values aside.
    """
    values = configured(space, config)
    if not values:
        return
    with locked(storage, study.study_name):
        if not study.get_trials(deepcopy=False):
            others = [name for name in space.distributions if name not in values]
            study.enqueue_trial(values, user_attrs={AS_CONFIGURED: others})


def configured(space: Space, config: DictConfig) -> dict[str, Any]:
    """The value that each parameter has in the configuration, where that is one of its range."""
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
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _in_range(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        alike = (choice for choice in distribution.choices if _is_same(_plain(choice), value))
        return next(alike, _ABSENT)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _ABSENT
    if isinstance(distribution, IntDistribution) and value != int(value):
        return _ABSENT
    return value if distribution._contains(value) else _ABSENT


def _plain(choice: Any) -> Any:
    value = parsed(choice) if isinstance(choice, str) else choice
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _is_same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
