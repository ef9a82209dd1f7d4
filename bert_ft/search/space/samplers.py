"""The sampler, the pruner and the callbacks that the configuration names."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import optuna
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler

from bert_ft.errors import ConfigError
from bert_ft.search.space.space import grid

TRUSTED = (
    "optuna.samplers.*",
    "optuna.pruners.*",
    "optuna_integration.*",
    "hydra_plugins.hydra_optuna_sweeper.*",
)
CALLBACKS = "hydra.sweeper.callbacks"

Callback: TypeAlias = "Callable[[optuna.Study, optuna.trial.FrozenTrial], None]"


def build_sampler(node: Any, distributions: Mapping[str, BaseDistribution], turn: int = 0) -> BaseSampler:
    """Return the sampler of ``hydra.sweeper.sampler``.

    Args:
        node: its configuration, or the sampler itself.
        distributions: the search space, which a grid needs.
        turn: number of processes that worked on the study before. Each one gets another seed; with the same seed
            a resumed search, or another machine, would draw the same trials again.

    Raises:
        ConfigError: its arguments are wrong, or a package that it needs isn't installed.
    """
    if isinstance(node, Mapping) and node.get("seed") is not None and not _is_shared(node["_target_"]):
        node = {**node, "seed": node["seed"] + 1_000_003 * turn}
    sampler = _built("hydra.sweeper.sampler", node)
    if isinstance(sampler, functools.partial):  # the grid of Hydra's plugin
        sampler = sampler(grid(distributions))
    if not isinstance(sampler, BaseSampler):
        raise ConfigError(f"hydra.sweeper.sampler: gives a {type(sampler).__name__}, not a sampler")
    return sampler


def _is_shared(target: str) -> bool:
    """Return whether the seed gives all processes one order of points, of which the storage knows the taken ones."""
    return target.rpartition(".")[2] in ("QMCSampler", "GridSampler")


def is_grid(node: Any) -> bool:
    """Return whether the sampler runs through a grid, which ends by itself."""
    target = node.get("_target_") if isinstance(node, Mapping) else getattr(node, "func", node)
    return target in ("optuna.samplers.GridSampler", optuna.samplers.GridSampler)


def build_pruner(node: Any) -> BasePruner:
    """Return the pruner of ``hydra.sweeper.pruner``; null prunes nothing.

    Raises:
        ConfigError: its arguments are wrong.
    """
    pruner = NopPruner() if node is None else _built("hydra.sweeper.pruner", node)
    if not isinstance(pruner, BasePruner):
        raise ConfigError(f"hydra.sweeper.pruner: gives a {type(pruner).__name__}, not a pruner")
    return pruner


def build_callbacks(node: Mapping[str, Any]) -> list[Callback]:
    """Return the callbacks of ``hydra.sweeper.callbacks``, e.g. those of ``optuna_integration``; null leaves one out.

    Raises:
        ConfigError: the arguments of one are wrong, it isn't a callback, or a package that it needs isn't installed.
    """
    built = {name: _built(f"{CALLBACKS}.{name}", each) for name, each in node.items() if each is not None}
    for name, callback in built.items():
        if not callable(callback):
            raise ConfigError(f"{CALLBACKS}.{name}: gives a {type(callback).__name__}, which can't be called")
    return list(built.values())


def _built(key: str, node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    try:
        with warnings.catch_warnings():
            # multivariate sampling by groups, which this project relies on
            warnings.simplefilter("ignore", ExperimentalWarning)
            return instantiate(dict(node), _execution_whitelist_=TRUSTED, _convert_="all")
    except (InstantiationException, ImportError, TypeError, ValueError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigError(f"{key}._target_={node.get('_target_')}: {reason}") from error
