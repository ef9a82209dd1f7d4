"""Whether a trial should be pruned, where trials have different numbers of steps."""

from __future__ import annotations

import copy
from typing import Any

import optuna
from optuna.pruners import BasePruner, PercentilePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from bert_ft.compat.optuna import innermost_pruner

TOTAL_STEPS = "total_steps"  # attribute of a trial: the optimizer steps of its whole run


def should_prune(study: optuna.Study, trial: FrozenTrial, tolerance: float) -> bool:
    """Return whether the study's pruner stops a trial of a single objective.

    Args:
        study: with its pruner.
        trial: with its reports so far.
        tolerance: where more is better, by how much it may be behind before a pruner that compares trials at the
            same step judges it.
    """
    view: Any = study
    if _looks_at_steps(study.pruner):
        view = _AtSameProgress(study, trial)
        if study.direction == StudyDirection.MAXIMIZE:
            trial = _raised(trial, tolerance)
    return bool(study.pruner.prune(view, trial))


def _raised(trial: FrozenTrial, amount: float) -> FrozenTrial:
    """The trial with better reports."""
    raised = copy.copy(trial)
    raised.intermediate_values = {step: each + amount for step, each in trial.intermediate_values.items()}
    return raised


def _looks_at_steps(pruner: BasePruner) -> bool:
    """Whether it compares trials at the same step."""
    return isinstance(innermost_pruner(pruner), PercentilePruner)


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
