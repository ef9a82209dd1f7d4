"""Whether a trial should be pruned, if trials have different numbers of steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.pruners import PercentilePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from bert_ft.compat.optuna import innermost_pruner

TOTAL_STEPS = "total_steps"  # attribute of a trial: the optimizer steps of its whole run


def should_prune(study: optuna.Study, trial: FrozenTrial, tolerance: float) -> bool:
    """Return whether the study's pruner stops a trial with a single objective.

    ``tolerance`` is how far the trial may be behind before a pruner that compares trials at the same step judges it; it is
    used only if the objective is maximized.
    """
    view: Any = study
    if isinstance(innermost_pruner(study.pruner), PercentilePruner):  # it compares trials at the same step
        view = _AtSameProgress(study, trial)
        if study.direction == StudyDirection.MAXIMIZE:
            reports = trial.intermediate_values.items()
            trial = _with_reports(trial, {step: value + tolerance for step, value in reports})
    return bool(study.pruner.prune(view, trial))


def _with_reports(trial: FrozenTrial, reports: Mapping[int, float]) -> FrozenTrial:
    changed = copy.copy(trial)
    changed.intermediate_values = dict(reports)
    return changed


class _AtSameProgress:
    """A study whose trials have reported at the steps of ``trial``.

    Trials with different batch sizes may have no step in common. Their learning rates follow the same schedule over their
    own total steps, so trials are compared at the same fraction of it, each by its latest report up to there. With equal
    numbers of steps this changes nothing.
    """

    def __init__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._study = study
        self._trial = trial

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        return [at_progress_of(self._trial, other) for other in self._study.get_trials(deepcopy, states)]


def at_progress_of(trial: FrozenTrial, other: FrozenTrial) -> FrozenTrial:
    """Return ``other`` with reports at the steps of ``trial``; unchanged if a number of steps isn't known."""
    own, others = trial.user_attrs.get(TOTAL_STEPS), other.user_attrs.get(TOTAL_STEPS)
    if not own or not others or own == others:
        return other
    reports = sorted(other.intermediate_values.items())
    found = {}
    for step in trial.intermediate_values:
        if earlier := [value for at, value in reports if at * own <= step * others]:
            found[step] = earlier[-1]
    return _with_reports(other, found)
