"""How a trial gets its values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import CategoricalDistribution
from optuna.trial import Trial

from bert_ft.errors import ConfigError
from bert_ft.search.space.conditions import Conditions
from bert_ft.search.space.space import Space, ends, parsed, suggest

log = logging.getLogger(__name__)
Extend = Callable[[DictConfig, Trial], None]


class Sampling:
    """Draws the values of a trial, each parameter only where the trial has it (see ``Conditions``).

    Args:
        space: what is searched.
        compose: gives the configuration of a trial by its overrides.
        config: that of the sweep, for ``extend``.
        typed: the parameters that were given on the command line.
        conditions: as of ``Conditions``.
        extend: a function of the user's own that draws more.

    Raises:
        ConfigError: a parameter is no key of any trial's, or the configuration can't be composed.
    """

    def __init__(
        self,
        space: Space,
        compose: Callable[[Sequence[str]], DictConfig],
        config: DictConfig,
        typed: Sequence[str] = (),
        conditions: Mapping[str, Any] | None = None,
        extend: Extend | None = None,
    ) -> None:
        self._space = space
        self._config = config
        self._extend = extend
        try:
            self._conditions = Conditions(
                compose,
                space.fixed_overrides(),
                space.distributions,
                typed=frozenset(typed),
                conditions=conditions,
            )
            problems = self._conditions.problems()
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(" ".join(str(error).split())) from error
        if problems:
            raise ConfigError("\n".join(problems))
        left_out = self._conditions.left_out()
        if left_out:
            log.info(f"Not searched, since no trial has them: {', '.join(left_out)}")

    def __call__(self, trial: Trial) -> None:
        distributions = self._space.distributions
        drawn: dict[str, Any] = {}
        while names := self._conditions.next(drawn):
            drawn |= {name: suggest(trial, name, distributions[name]) for name in names}
        if self._extend is not None:
            for name, value in self._space.fixed.items():
                trial.set_user_attr(name, value)  # where such a function looks for them
            self._extend(self._config, trial)
            self._check_no_overlap(trial.params)

    def _check_no_overlap(self, params: Mapping[str, Any]) -> None:
        both = sorted(params.keys() & self._space.fixed.keys())
        if both:
            raise ConfigError(
                f"{', '.join(both)}: given a single value, and searched by hydra.sweeper.custom_search_space; "
                "leave one of them out"
            )


def extension(name: str | None) -> Extend | None:
    """The function that ``hydra.sweeper.custom_search_space`` names.

    Raises:
        ConfigError: there is none.
    """
    if name is None:
        return None
    try:
        found = get_method(name)
    except (ImportError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"hydra.sweeper.custom_search_space={name}: can't be imported: " + " ".join(str(error).split())
        ) from error
    return found


def value_problems(
    space: Space, config: DictConfig, problems: Callable[[DictConfig], list[str]]
) -> list[str]:
    """What is wrong with the ends of the ranges, each put into ``config`` by itself.

    Args:
        space: what is searched.
        config: of a trial, searched values aside; what chooses a group is judged when it is composed.
        problems: judges a configuration.
    """
    before = set(problems(config))
    found: dict[str, None] = {}
    for name, distribution in space.distributions.items():
        if (
            name in config.hydra.runtime.choices
            or name.startswith("+")
            or OmegaConf.select(config, name) is None
        ):
            continue
        for value in ends(distribution):
            other = config.copy()
            text = isinstance(distribution, CategoricalDistribution) and isinstance(value, str)
            OmegaConf.update(other, name, parsed(value) if text else value)
            for problem in problems(other):
                if problem not in before and problem.startswith(f"{name}="):
                    found[problem] = None
    return list(found)
