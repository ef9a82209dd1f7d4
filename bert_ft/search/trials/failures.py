"""The reason why a trial failed, in one sentence, and whether too many failed."""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from bert_ft.errors import SearchError

ENOUGH_TRIALS = 10
# sent by others; a trial that crashed by itself would crash again
KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def was_killed(code: int) -> bool:
    """Return whether the process was killed, by an exit code of ``os.waitstatus_to_exitcode``."""
    return -code in KILLS


def reason_of_exit(code: int) -> str:
    """Return why a process ended without a result."""
    if code >= 0:
        return f"its process ended by itself with exit code {code}"
    name = signal.Signals(-code).name
    if -code == signal.SIGKILL:
        return f"its process was killed ({name}), as the system does when memory runs out"
    return f"its process {'was killed' if was_killed(code) else 'crashed'} ({name})"


def reason_of_error(error: BaseException) -> str:
    """Return the error's type and message, short enough for a table."""
    message = " ".join(str(error).split())
    is_memory = "out of memory" in message.lower() or isinstance(error, MemoryError)
    return f"{'out of memory' if is_memory else type(error).__name__}: {message}"[:500]


def objective_values(returned: Any, num_objectives: int) -> list[float]:
    """Return the task's return value as a number for each objective.

    Raises:
        ValueError: their number is wrong, or one isn't a finite number.
    """
    if num_objectives > 1:
        if not isinstance(returned, Sequence) or isinstance(returned, str) or len(returned) != num_objectives:
            raise ValueError(f"the task returned {returned!r}, not {num_objectives} numbers")
        return [value for each in returned for value in objective_values(each, 1)]
    try:
        value = float(returned)
    except (TypeError, ValueError):
        raise ValueError(f"the task returned {returned!r}, not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"the objective is {value}: training diverged, or nothing was validated")
    return [value]


def too_many(num_failed: int, num_ended: int, max_failure_rate: float, n_trials: int) -> bool:
    """Return whether the search should end; only after ``ENOUGH_TRIALS`` trials, unless none may fail."""
    if num_failed == 0 or num_failed <= max_failure_rate * num_ended:
        return False
    return max_failure_rate == 0 or num_ended >= min(ENOUGH_TRIALS, n_trials)


class FailureCount:
    """Counts the trials that ended, and those that failed."""

    def __init__(self, max_failure_rate: float, n_trials: int) -> None:
        self._limits = max_failure_rate, n_trials
        self.num_ended = self._num_failed = 0
        self._last_reason = ""

    def add(self, ended: FrozenTrial) -> None:
        self.num_ended += 1
        if ended.state == TrialState.FAIL:
            self._num_failed += 1
            self._last_reason = ended.user_attrs.get("reason", "")

    def check(self) -> None:
        """Raise ``SearchError`` if too many trials failed."""
        if too_many(self._num_failed, self.num_ended, *self._limits):
            raise SearchError(
                f"{self._num_failed} of {self.num_ended} trials failed, which is more than "
                f"hydra.sweeper.max_failure_rate={self._limits[0]}; the last one: {self._last_reason}"
            )
