"""Trials with the settings of an earlier one, which aren't trained again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from bert_ft.compat.optuna import CachedStorage, trial_id
from bert_ft.search.settings import LEFT_OUT

# attributes of a trial
EQUAL_TO = "equal_to"  # number of the trial with the same settings, whose outcome this one has
SETTINGS = "settings"  # marks the trials of a start with other settings besides the searched ones
_OF_THE_RUN = ("overrides", "folder", "host", "steps", "total_steps", "validated_rows")
_KNOWN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


class _Queue(Protocol):
    study: optuna.Study
    storage: CachedStorage

    def frozen(self, trial: FrozenTrial) -> FrozenTrial: ...
    def end(self, trial: FrozenTrial, outcome: Mapping[str, Any]) -> bool: ...
    def lose(self, trial: FrozenTrial, reason: str) -> bool: ...
    def set_attribute(self, trial: FrozenTrial, name: str, value: Any) -> None: ...


class EqualTrials:
    """Gives a trial the outcome of an earlier one with the same values, as soon as that one has ended.

    ``settings`` marks the trials of this start; trials with other marks aren't equal.
    """

    def __init__(self, queue: _Queue, settings: str | None) -> None:
        self._queue = queue
        self._settings = settings
        self._waiting: list[tuple[FrozenTrial, int]] = []  # a trial, and the number of its equal
        self._ended: list[FrozenTrial] = []

    @property
    def are_left(self) -> bool:
        """Return whether a trial waits for an equal one to end."""
        return bool(self._waiting)

    def take(self, trial: FrozenTrial) -> bool:
        """Return whether an earlier trial has the same settings; ``trial`` then needs no process."""
        trials = self._queue.study.get_trials(deepcopy=False, states=_KNOWN)
        equal = next((other.number for other in trials if self._is_equal(other, trial)), None)
        if equal is None:
            return False
        self._queue.set_attribute(trial, EQUAL_TO, equal)
        self._waiting.append((trial, equal))
        self._settle()
        return True

    def ended(self) -> list[FrozenTrial]:
        """Return the trials that have taken the outcome of their equal since the last call."""
        self._settle()
        found, self._ended = self._ended, []
        return found

    def _is_equal(self, other: FrozenTrial, trial: FrozenTrial) -> bool:
        return (
            other.number < trial.number
            and EQUAL_TO not in other.user_attrs
            and other.params == trial.params
            and other.user_attrs.get(SETTINGS) == self._settings
            and other.user_attrs.get(LEFT_OUT) == trial.user_attrs.get(LEFT_OUT)
        )

    def _settle(self) -> None:
        if not self._waiting:
            return
        trials: Sequence[FrozenTrial] = self._queue.study.get_trials(deepcopy=False)
        waiting, self._waiting = self._waiting, []
        for trial, number in waiting:
            equal = trials[number]
            if not equal.state.is_finished():
                self._waiting.append((trial, number))
            elif equal.state == TrialState.FAIL:
                # it may do better by itself
                self._queue.lose(trial, f"trial {number}, which has the same settings, has failed")
            else:
                self._take_outcome(trial, equal)

    def _take_outcome(self, trial: FrozenTrial, equal: FrozenTrial) -> None:
        for name in _OF_THE_RUN:
            if name in equal.user_attrs:
                self._queue.set_attribute(trial, name, equal.user_attrs[name])
        if equal.state == TrialState.COMPLETE:
            self._queue.end(trial, {"values": equal.values})
        else:
            for step, value in equal.intermediate_values.items():
                self._queue.storage.set_trial_intermediate_value(trial_id(trial), step, value)
            self._queue.end(trial, {"pruned": True})
        self._ended.append(self._queue.frozen(trial))
