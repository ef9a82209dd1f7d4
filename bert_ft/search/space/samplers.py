"""The sampler, the pruner and the callbacks that the configuration names."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import optuna
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from bert_ft.compat.optuna import tell
from bert_ft.errors import ConfigError, in_one_line
from bert_ft.search.space.space import grid, suggest

TRUSTED = (
    "optuna.samplers.*",
    "optuna.pruners.*",
    "optuna_integration.*",
    "hydra_plugins.hydra_optuna_sweeper.*",
)
_DRAWN_AT_START = 3  # the first of them don't need what the sampler is about
CALLBACKS = "hydra.sweeper.callbacks"

Callback: TypeAlias = "Callable[[optuna.Study, optuna.trial.FrozenTrial], None]"


def build_sampler(node: Any, distributions: Mapping[str, BaseDistribution], turn: int = 0) -> BaseSampler:
    """Return the sampler of ``hydra.sweeper.sampler``.

    Args:
        node: its configuration, or the sampler itself.
        distributions: the search space, which a grid needs.
        turn: number of processes that worked on the study before. Each process gets a different seed; with
            the same seed a resumed search, or another machine, would draw the same trials again.

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


def check_sampler(
    node: Any, distributions: Mapping[str, BaseDistribution], directions: Sequence[str]
) -> None:
    """Draw a few trials in memory: samplers notice late that a package is missing or a space doesn't suit them.

    Raises:
        ConfigError: the sampler can't be built, or can't draw.
    """
    sampler = build_sampler(copy.deepcopy(node), distributions)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(sampler=sampler, directions=list(directions))  # type: ignore[arg-type]
        for _ in range(_DRAWN_AT_START):
            trial = study.ask()
            for name, distribution in distributions.items():
                suggest(trial, name, distribution)
            tell(study, trial.number, TrialState.COMPLETE, [0.0] * len(directions))
    except Exception as error:  # a sampler finds a wrong argument in various ways
        target = node.get("_target_") if isinstance(node, Mapping) else type(sampler).__name__
        package = f"; pip install {error.name}" if isinstance(error, ImportError) and error.name else ""
        raise ConfigError(
            f"hydra.sweeper.sampler._target_={target}: {in_one_line(error)}{package}"
        ) from error
    finally:
        optuna.logging.set_verbosity(verbosity)


class RoundedSampler(BaseSampler):
    """A sampler that rounds the values of a range with steps: 0.3 instead of 0.30000000000000004."""

    def __init__(self, sampler: BaseSampler) -> None:
        self.sampler = sampler

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sampler, name)  # for attributes of samplers besides the methods below

    def reseed_rng(self) -> None:
        self.sampler.reseed_rng()

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Any, trial: Any, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        drawn = self.sampler.sample_relative(study, trial, search_space)
        return {name: _rounded(value, search_space[name]) for name, value in drawn.items()}

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        drawn = self.sampler.sample_independent(study, trial, param_name, param_distribution)
        return _rounded(drawn, param_distribution)

    def before_trial(self, study: Any, trial: Any) -> None:
        self.sampler.before_trial(study, trial)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        self.sampler.after_trial(study, trial, state, values)


def _rounded(value: Any, distribution: BaseDistribution) -> Any:
    is_in_steps = isinstance(distribution, FloatDistribution) and distribution.step is not None
    return float(f"{value:.12g}") if is_in_steps else value


def _is_shared(target: str) -> bool:
    """Return whether all processes draw the same points from the seed; the storage then knows which are taken."""
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
