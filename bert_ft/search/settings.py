"""The keys of ``hydra.sweeper``, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf

from bert_ft.errors import ConfigError
from bert_ft.limits import Count, CountOrZero, Positive, Ratio, Rule, hints_of, one_of, problems_of

DIRECTIONS = ("minimize", "maximize")
# attribute of the trial with the configured values: the parameters that are null there, which stay null
LEFT_OUT = "left_out"
OF_MODE = {"max": "maximize", "min": "minimize"}


@dataclass(frozen=True)
class SearchSettings:
    """The keys of ``hydra.sweeper``; ``conf/hydra/sweeper/optuna.yaml`` says what each one does.

    Raises:
        ConfigError: a value is outside its limits.
    """

    sampler: Any = None
    pruner: Any = None
    direction: Any = None  # a name, or a list of one per objective; None: from objective.mode
    storage: str | None = None
    study_name: str | None = None
    n_trials: Count = 100
    n_jobs: Annotated[int, Rule("integer", at_least=1, also=(-1,))] = 1  # -1: as many as GPUs, else threads
    max_failure_rate: Ratio = 0.5
    timeout: Positive | None = None  # seconds
    retry: CountOrZero = 3
    retry_failed: bool = False
    keep_top_k: Count | None = 3
    begin_as_configured: bool = False
    confirm: Annotated[str, one_of(("auto", "true", "false"))] = "auto"
    report: bool = True
    callbacks: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    custom_search_space: str | None = None
    trial_overrides: Sequence[str] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> SearchSettings:
        """Return the settings from Hydra's values: nodes, members of enumerations, null for an empty mapping."""
        values = {name: plain_values(value) for name, value in given.items()}
        if isinstance(confirm := values.get("confirm"), bool):
            values["confirm"] = str(confirm).lower()
        values["direction"] = direction_names(values.get("direction"))
        values |= {name: values.get(name) or {} for name in ("params", "callbacks", "conditions")}
        return cls(**values)

    def __post_init__(self) -> None:
        key = "hydra.sweeper.direction"
        found = list(problems_of("hydra.sweeper", hints_of(type(self)), vars(self)))
        given = self.direction if isinstance(self.direction, list) else [self.direction]
        for direction in given:
            if direction not in (*DIRECTIONS, None) or (direction is None and len(given) > 1):
                found.append(f"{key}={direction}: must be {' or '.join(DIRECTIONS)}, or a list of them")
        if not given:
            found.append(f"{key}=[]: give at least one")
        if found:
            raise ConfigError("\n".join(found))

    def directions(self, config: DictConfig) -> list[str]:
        """Return the direction of each objective; the default is the task's ``objective.mode``, else ``minimize``.

        Raises:
            ConfigError: they contradict the task's objective.
        """
        mode = OmegaConf.select(config, "objective.mode", default=None)
        wanted = OF_MODE.get(str(mode))
        given = (
            self.direction if isinstance(self.direction, list) else [self.direction or wanted or "minimize"]
        )
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
        return list(given)


def objectives_of(config: DictConfig) -> list[str] | None:
    """Return the names of the values that the task returns; ``None`` if it doesn't declare them."""
    metric = OmegaConf.select(config, "objective.metric", default=None)
    others = OmegaConf.select(config, "objective.others", default=None)
    return None if metric is None or others is None else [str(name) for name in (metric, *others)]


def plain_values(node: Any) -> Any:
    """Return a node of the configuration as plain mappings and lists."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def direction_names(direction: Any) -> Any:
    """Return directions as text; configurations of Hydra's plugin may have enum members."""
    if isinstance(direction, list):
        return [direction_names(each) for each in direction]
    return getattr(direction, "name", direction)
