"""The sampler, the pruner and the callbacks of a study that the configuration names."""

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
    """The sampler of ``hydra.sweeper.sampler``; a grid learns what it is over.

    Args:
        node: its configuration, or the sampler itself.
        distributions: the search space.
        turn: how many processes have worked on the study before. Each draws from a seed of its own: with the same one
            a search that is continued, or another machine, would draw the same trials once more.

    Raises:
        ConfigError: it refuses its arguments, or a package that it needs isn't installed.
    """
    if isinstance(node, Mapping) and node.get("seed") is not None and not _is_shared(node["_target_"]):
        node = {**node, "seed": node["seed"] + 1_000_003 * turn}
    sampler = _built("hydra.sweeper.sampler", node)
    if isinstance(sampler, functools.partial):  # as Hydra's plugin has its grid
        sampler = sampler(grid(distributions))
    if not isinstance(sampler, BaseSampler):
        raise ConfigError(f"hydra.sweeper.sampler: gives a {type(sampler).__name__}, not a sampler")
    return sampler


def _is_shared(target: str) -> bool:
    """Whether the seed makes one order of points for all processes: the storage says which of them have been taken."""
    return target.rpartition(".")[2] in ("QMCSampler", "GridSampler")


def is_grid(node: Any) -> bool:
    """Whether the sampler goes through a grid, which ends by itself."""
    target = node.get("_target_") if isinstance(node, Mapping) else getattr(node, "func", node)
    return target in ("optuna.samplers.GridSampler", optuna.samplers.GridSampler)


def build_pruner(node: Any) -> BasePruner:
    """The pruner of ``hydra.sweeper.pruner``; ``null``: none is ever stopped.

    Raises:
        ConfigError: it refuses its arguments.
    """
    pruner = NopPruner() if node is None else _built("hydra.sweeper.pruner", node)
    if not isinstance(pruner, BasePruner):
        raise ConfigError(f"hydra.sweeper.pruner: gives a {type(pruner).__name__}, not a pruner")
    return pruner


def build_callbacks(node: Mapping[str, Any]) -> list[Callback]:
    """Return the callbacks of ``hydra.sweeper.callbacks``, such as those of ``optuna_integration``; null leaves one out.

    Raises:
        ConfigError: one refuses its arguments, isn't a callback, or needs a package that isn't installed.
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
