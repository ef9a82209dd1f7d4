"""The keys of ``hydra.sweeper``, judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bert_ft.errors import ConfigError
from bert_ft.limits import Count, CountOrZero, Positive, Ratio, hints_of, problems_of

DIRECTIONS = ("minimize", "maximize")
OF_MODE = {"max": "maximize", "min": "minimize"}


@dataclass(frozen=True)
class SearchSettings:
    """The keys of ``hydra.sweeper``.

    Attributes:
        sampler: configuration of Optuna's sampler.
        pruner: configuration of Optuna's pruner.
        direction: ``minimize`` or ``maximize``, or one for each objective; ``None``: as ``objective.mode`` says.
        storage: address of the database; ``None``: a SQLite file in the sweep's folder.
        study_name: the study, continued if it exists; ``None``: the name of the sweep's folder.
        n_trials: trials in all, over all processes and machines that work on the study.
        n_jobs: trials at a time on this machine.
        max_failure_rate: the search ends when more fail.
        timeout: seconds after which no more trials are started.
        retry: how often a trial whose process was killed is run again.
        keep_top_k: number of best trials whose folders are kept whole; ``None``: all.
        begin_as_configured: the first trial is the configuration as it stands.
        report: draw the study's page during the search and at its end.
        callbacks: name → configuration of a callback ``(study, trial)``, called after each trial.
        conditions: parameter → key or keys without which (0, null or false) it means nothing, and isn't drawn.
        params: key → override that is searched.
        custom_search_space: name of a function ``(config, trial)`` that draws more.
        trial_overrides: overrides of trials only.
    """

    sampler: Any
    pruner: Any = None
    direction: Any = None
    storage: str | None = None
    study_name: str | None = None
    n_trials: Count = 20
    n_jobs: Count = 2
    max_failure_rate: Ratio = 0.5
    timeout: Positive | None = None
    retry: CountOrZero = 3
    keep_top_k: Count | None = 3
    begin_as_configured: bool = False
    report: bool = True
    callbacks: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    custom_search_space: str | None = None
    trial_overrides: Sequence[str] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> SearchSettings:
        """Return the settings from values as Hydra gives them: nodes, members of enumerations, null for nothing.

        Raises:
            ConfigError: one of them is wrong.
        """
        values = {name: plain_values(value) for name, value in given.items()}
        values["direction"] = direction_names(values.get("direction"))
        values |= {name: values.get(name) or {} for name in ("params", "callbacks", "conditions")}
        return cls(**values)

    def __post_init__(self) -> None:
        if found := self._problems():
            raise ConfigError("\n".join(found))

    def _problems(self) -> list[str]:
        key = "hydra.sweeper.direction"
        found = list(problems_of("hydra.sweeper", hints_of(type(self)), vars(self)))
        given = self.direction if isinstance(self.direction, list) else [self.direction]
        for direction in given:
            if direction not in (*DIRECTIONS, None) or (direction is None and len(given) > 1):
                found.append(f"{key}={direction}: must be {' or '.join(DIRECTIONS)}, or a list of them")
        if not given:
            found.append(f"{key}=[]: give one at least")
        return found

    def directions(self, config: DictConfig) -> list[str]:
        """Of each objective; where none is given, that of the task's ``objective.mode``, else ``minimize``.

        Raises:
            ConfigError: it contradicts the task's own objective.
        """
        mode = OmegaConf.select(config, "objective.mode", default=None)
        wanted = OF_MODE.get(str(mode))
        if isinstance(self.direction, list):
            given = list(self.direction)
        else:
            given = [self.direction or wanted or "minimize"]
        if wanted is not None and given[0] != wanted:
            raise ConfigError(
                f"hydra.sweeper.direction={given[0]}: contradicts objective.mode={mode} of "
                f"objective.metric={OmegaConf.select(config, 'objective.metric', default='')}; "
                f"set it to {wanted}, or leave it out"
            )
        objectives = objectives_of(config)
        if objectives is not None and len(objectives) != len(given):
            raise ConfigError(
                f"hydra.sweeper.direction={self.direction}: {len(given)} for "
                f"{', '.join(objectives)}; give one for each, e.g. "
                "objective.others=[fit_seconds] hydra.sweeper.direction=[maximize,minimize]"
            )
        return given


def objectives_of(config: DictConfig) -> list[str] | None:
    """The names of what the task returns; ``None`` where it doesn't say."""
    metric = OmegaConf.select(config, "objective.metric", default=None)
    others = OmegaConf.select(config, "objective.others", default=None)
    return None if metric is None or others is None else [str(name) for name in (metric, *others)]


def plain_values(node: Any) -> Any:
    """Return a node of the configuration as Python's own mappings and lists."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def direction_names(direction: Any) -> Any:
    """Directions as text, where Hydra's plugin has members of an enumeration."""
    if isinstance(direction, list):
        return [direction_names(each) for each in direction]
    return getattr(direction, "name", direction)
