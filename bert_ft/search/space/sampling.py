"""How a trial draws its values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hydra.errors import HydraException
from hydra.types import HydraContext
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import Trial

from bert_ft.errors import ConfigError
from bert_ft.search.settings import LEFT_OUT
from bert_ft.search.space.conditions import Conditions
from bert_ft.search.space.space import Space, ends, suggest
from bert_ft.search.spelling import parsed

log = logging.getLogger(__name__)
_MEASURES = {"objective", "metrics"}
_OF_RUNS = {"resume_from", "output_dir", "trust", "test", "report", "advice", "logger", "monitor"}
_ABSENT = object()
Extend = Callable[[DictConfig, Trial], None]


class Sampling:
    """Draws the values of a trial: each parameter only if the trial has it (see ``Conditions``).

    ``extend``, a user's function that draws more parameters, is called with the configuration of the sweep.

    Raises:
        ConfigError: a parameter is not a key of any trial, or the configuration can't be composed.
    """

    def __init__(
        self,
        space: Space,
        compose: Callable[[Sequence[str]], DictConfig],
        config: DictConfig,
        typed: Sequence[str],
        conditions: Mapping[str, Any],
        extend: Extend | None,
    ) -> None:
        self._space = space
        self._config = config
        self._extend = extend
        try:
            self._conditions = Conditions(
                compose, space.fixed_overrides(), space.distributions, typed=typed, conditions=conditions
            )
            problems = self._conditions.problems()
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(" ".join(str(error).split())) from error
        if problems:
            raise ConfigError("\n".join(problems))
        if left_out := self._conditions.left_out():
            log.info(f"Not searched, since no trial has them: {', '.join(left_out)}")

    def __call__(self, trial: Trial) -> None:
        distributions = self._space.distributions
        drawn: dict[str, Any] = dict.fromkeys(trial.user_attrs.get(LEFT_OUT, ()))
        while names := self._conditions.next(drawn):
            drawn |= {name: suggest(trial, name, distributions[name]) for name in names}
        if self._extend is None:
            return
        for name, value in self._space.fixed.items():
            trial.set_user_attr(name, value)  # where such a function expects them
        self._extend(self._config, trial)
        if both := sorted(trial.params.keys() & self._space.fixed.keys()):
            raise ConfigError(
                f"{', '.join(both)}: given as a single value and searched by hydra.sweeper.custom_search_space; "
                "remove one of the two"
            )


def check_choice(config: DictConfig, context: HydraContext) -> None:
    """Raise ``ConfigError`` for a space file that doesn't exist: the group is optional, so Hydra would ignore it."""
    choices = OmegaConf.select(config, "hydra.runtime.choices")
    choice, sweeper = choices.get("search"), choices.get("hydra/sweeper")
    names = [name for name in context.config_loader.get_group_options("search") if not name.startswith("_")]
    if names and choice is not None and choice not in (*names, sweeper):
        shown = ", ".join(name for name in names if not name.startswith(str(sweeper)))
        raise ConfigError(f"search={choice}: must be one of {shown}")


def unsearchable(names: Iterable[str], config: DictConfig) -> list[str]:
    """Return a message for each parameter that has to be the same in all trials of a search."""
    has_objective = OmegaConf.select(config, "objective.metric") is not None
    found = []
    for name in names:
        section = name.lstrip("+").replace("/", ".").split(".")[0]
        if has_objective and section in _MEASURES:
            found.append(
                f"{name}: is in the search space, but decides how trials are measured, so their values "
                "couldn't be compared; give it one value (objective.others adds objectives)"
            )
        elif has_objective and section in _OF_RUNS:
            found.append(
                f"{name}: is in the search space, but changes nothing that is measured; give it one value"
            )
    return found


def extension(name: str | None) -> Extend | None:
    """Return the function that ``hydra.sweeper.custom_search_space`` names.

    Raises:
        ConfigError: it can't be imported.
    """
    try:
        return None if name is None else get_method(name)
    except (ImportError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"hydra.sweeper.custom_search_space={name}: can't be imported: {reason}") from error


def value_problems(
    space: Space, config: DictConfig, problems: Callable[[DictConfig], list[str]]
) -> list[str]:
    """Return what ``problems`` finds in the ends of the ranges, each set in ``config`` by itself.

    Choices of groups are left out, since composing the configuration checks them.
    """
    before = set(problems(config))
    found: dict[str, None] = {}
    for name, distribution in space.distributions.items():
        is_group = name in config.hydra.runtime.choices
        if is_group or name.startswith("+") or OmegaConf.select(config, name, default=_ABSENT) is _ABSENT:
            continue
        for value in ends(distribution):
            other = config.copy()
            OmegaConf.update(other, name, parsed(value))
            found |= dict.fromkeys(
                problem
                for problem in problems(other)
                if problem not in before and problem.startswith(f"{name}=")
            )
    return list(found)
