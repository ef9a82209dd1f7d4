"""Whether a trial should be pruned, if trials have different numbers of steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.pruners import HyperbandPruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from bert_ft.compat.optuna import innermost_pruner

TOTAL_STEPS = "total_steps"  # attribute of a trial: the optimizer steps of its whole run
_WITH_REPORTS = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)

LEAST_OTHERS = 3  # the median of one or two trials says nothing


def should_prune(study: optuna.Study, trial: FrozenTrial, tolerance: float) -> bool:
    """Return whether the study's pruner stops a trial with a single objective.

    A trial is never stopped by a comparison with fewer than ``LEAST_OTHERS`` others. ``tolerance`` is how far
    the trial may be behind before a pruner that compares trials at the same step may stop it; it is used only
    if the objective is maximized.
    """
    view: Any = study
    pruner = innermost_pruner(study.pruner)
    if isinstance(pruner, PercentilePruner):  # it compares trials at the same step
        view = _AtSameProgress(study, trial)
        if study.direction == StudyDirection.MAXIMIZE:
            reports = trial.intermediate_values.items()
            trial = _with_reports(trial, {step: value + tolerance for step, value in reports})
        if _num_others(view, trial, (TrialState.COMPLETE,)) < LEAST_OTHERS:
            return False
    elif isinstance(pruner, SuccessiveHalvingPruner | HyperbandPruner):  # its rounds are numbers of steps
        num_others = _num_others(_AtSameProgress(study, trial), trial, _WITH_REPORTS)
        trial = in_steps_of_the_first(trial, study.get_trials(deepcopy=False))
        # asked in any case, since it records that the trial has reached the round
        return bool(study.pruner.prune(study, trial)) and num_others >= LEAST_OTHERS
    return bool(study.pruner.prune(view, trial))


def _num_others(view: Any, trial: FrozenTrial, states: tuple[TrialState, ...]) -> int:
    """Return how many other trials have reported at the trial's last step."""
    others = view.get_trials(deepcopy=False, states=states)
    step = trial.last_step
    return sum(step in other.intermediate_values for other in others if other.number != trial.number)


def in_steps_of_the_first(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return ``trial`` with its steps as shares of the first trial's steps; unchanged if a number of steps isn't known."""
    own = trial.user_attrs.get(TOTAL_STEPS)
    first = next((total for each in trials if (total := each.user_attrs.get(TOTAL_STEPS))), None)
    if not own or not first or own == first:
        return trial
    reports = trial.intermediate_values.items()
    return _with_reports(trial, {max(1, round(step * first / own)): value for step, value in reports})


def _with_reports(trial: FrozenTrial, reports: Mapping[int, float]) -> FrozenTrial:
    changed = copy.copy(trial)
    changed.intermediate_values = dict(reports)
    return changed


class _AtSameProgress:
    """A study whose trials have reported at the steps of ``trial``.

    Trials with different batch sizes may have no step in common, neither under ``max_epochs``, where they have different
    numbers of steps, nor under ``max_steps``, where their epochs end at other steps. Their learning rates follow the same
    schedule over their own total steps, so trials are compared at the same fraction of it, each by its latest report up to
    there. For trials that report at the same steps and have equally many steps, this changes nothing.
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
    if not own or not others:
        return other
    if own == others and trial.intermediate_values.keys() <= other.intermediate_values.keys():
        return other
    reports = sorted(other.intermediate_values.items())
    found = {}
    for step in trial.intermediate_values:
        if earlier := [value for at, value in reports if at * own <= step * others]:
            found[step] = earlier[-1]
    return _with_reports(other, found)
