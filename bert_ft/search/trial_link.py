"""From inside a trial to its study: what it has reached so far, and whether it's worth going on.

A trial's process finds its study by an environment variable, whoever launched it.
"""

from __future__ import annotations

import copy
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from hydra.core.hydra_config import HydraConfig
from optuna.pruners import BasePruner, PatientPruner, PercentilePruner
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial

from bert_ft.search.samplers import build_pruner, plain
from bert_ft.search.storage import open_storage

VARIABLE = "BERT_FT_TRIAL"
TOTAL_STEPS = "total_steps"


@dataclass(frozen=True)
class TrialAddress:
    """Where a trial is kept.

    Attributes:
        storage: address of the database.
        study_name: name of the study.
        trial_id: the storage's own number of the trial.
        claimed: when it was given its place, in seconds of ``time.time``.
    """

    storage: str
    study_name: str
    trial_id: int
    claimed: float

    def to_text(self) -> str:
        return json.dumps(asdict(self))


def current_trial() -> TrialLink | None:
    """The link of the trial that this process runs; ``None`` outside of a search."""
    address = os.environ.get(VARIABLE)
    if address is None:
        return None
    return TrialLink(
        TrialAddress(**json.loads(address)), build_pruner(plain(HydraConfig.get().sweeper.pruner))
    )


class TrialLink:
    """Reports to the study's database, and asks its pruner.

    Attributes:
        is_pruned: whether the trial was told to stop.
    """

    def __init__(self, address: TrialAddress, pruner: BasePruner) -> None:
        self.address = address
        self.is_pruned = False
        storage = open_storage(address.storage)
        # the sampler of the search would draw once more
        study = optuna.load_study(
            study_name=address.study_name, storage=storage, sampler=RandomSampler(), pruner=pruner
        )
        self._trial = Trial(study, address.trial_id)

    def note(self, **attributes: Any) -> None:
        """Store what is to be known of the trial later."""
        for name, value in attributes.items():
            self._trial.set_user_attr(name, value)

    def seconds_since_claimed(self) -> float:
        """Since the place was free in which the trial runs."""
        return time.time() - self.address.claimed

    def report(self, value: float, step: int, *, tolerance: float = 0.0) -> bool:
        """Store the monitor's value after ``step`` optimizer steps; whether the trial had better stop.

        Trials of several objectives are never stopped: Optuna can't judge them.

        Args:
            value: of the monitor.
            step: optimizer steps done.
            tolerance: where more is better, by how much it may be behind before a pruner that compares trials at the
                same step judges it.
        """
        study = self._trial.study
        if len(study.directions) > 1:
            return False
        self._trial.report(value, step)
        trial = self._trial.storage.get_trial(self.address.trial_id)
        view: Any = study
        if _looks_at_steps(study.pruner):
            view = _AtSameProgress(study, trial)
            if study.direction == StudyDirection.MAXIMIZE:
                trial = _raised(trial, tolerance)
        self.is_pruned = bool(study.pruner.prune(view, trial))
        return self.is_pruned


def leave(step: int) -> None:
    """Leave a trial that its pruner has stopped.

    Raises:
        optuna.TrialPruned: which whoever runs the trial understands.
    """
    raise optuna.TrialPruned(f"stopped by the pruner after {step} steps")


def _raised(trial: FrozenTrial, amount: float) -> FrozenTrial:
    """The trial with better reports."""
    raised = copy.copy(trial)
    raised.intermediate_values = {step: each + amount for step, each in trial.intermediate_values.items()}
    return raised


def _looks_at_steps(pruner: BasePruner) -> bool:
    """Whether it compares trials at the same step."""
    if isinstance(pruner, PatientPruner):
        return pruner._wrapped_pruner is not None and _looks_at_steps(pruner._wrapped_pruner)
    return isinstance(pruner, PercentilePruner)


class _AtSameProgress:
    """A study whose trials have reported at the steps of ``trial``.

    With another batch size a trial has other steps, and none may be common to both. Their learning rates follow the
    same schedule over the whole of their own steps, so they compare where they have done the same share of them: the
    latest report up to there stands for a trial. With the same number of steps this changes nothing.
    """

    def __init__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._study = study
        self._trial = trial

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        return [at_progress_of(self._trial, other) for other in self._study.get_trials(deepcopy, states)]


def at_progress_of(trial: FrozenTrial, other: FrozenTrial) -> FrozenTrial:
    """``other`` with its reports at the steps of ``trial``; itself where its number of steps isn't known."""
    own, others = trial.user_attrs.get(TOTAL_STEPS), other.user_attrs.get(TOTAL_STEPS)
    if not own or not others or own == others:
        return other
    reports = sorted(other.intermediate_values.items())
    found = {}
    for step in trial.intermediate_values:
        earlier = [value for at, value in reports if at * own <= step * others]
        if earlier:
            found[step] = earlier[-1]
    moved = copy.copy(other)
    moved.intermediate_values = found
    return moved
