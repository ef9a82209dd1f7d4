"""Why a trial failed, in a sentence, and when there are too many of them."""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from typing import Any

ENOUGH_TRIALS = 10
# what others send to a process; a crash of its own would only come again
KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def was_killed(wait_status_code: int) -> bool:
    """Whether others ended the process, by its exit code as ``os.waitstatus_to_exitcode`` gives it."""
    return wait_status_code < 0 and -wait_status_code in KILLS


def reason_of_exit(code: int) -> str:
    """Why a process ended that should have given a result."""
    if code >= 0:
        return f"its process ended by itself with exit code {code}"
    name = signal.Signals(-code).name
    if -code == signal.SIGKILL:
        return f"its process was killed ({name}), as the system does when memory runs out"
    return f"its process {'was killed' if was_killed(code) else 'crashed'} ({name})"


def reason_of_error(error: BaseException) -> str:
    """The error's kind and message, short enough for a table."""
    message = " ".join(str(error).split())
    if "out of memory" in message.lower() or isinstance(error, MemoryError):
        return f"out of memory: {message}"[:500]
    return f"{type(error).__name__}: {message}"[:500]


def objective_values(returned: Any, num_objectives: int) -> list[float]:
    """The returned value or values as numbers.

    Raises:
        ValueError: they aren't as many as there are objectives, aren't numbers, or not finite.
    """
    if num_objectives == 1:
        try:
            values = [float(returned)]
        except (TypeError, ValueError):
            raise ValueError(f"the task returned {returned!r}, not a number") from None
    else:
        if not isinstance(returned, Sequence) or isinstance(returned, str) or len(returned) != num_objectives:
            raise ValueError(f"the task returned {returned!r}, not {num_objectives} numbers")
        values = [value for each in returned for value in objective_values(each, 1)]
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"the objective is {value}: training diverged, or nothing was validated")
    return values


def too_many(num_failed: int, num_ended: int, max_failure_rate: float, n_trials: int) -> bool:
    """Whether a search should end: not before there are enough trials to tell, unless none may fail."""
    if num_failed == 0 or num_failed <= max_failure_rate * num_ended:
        return False
    return max_failure_rate == 0 or num_ended >= min(ENOUGH_TRIALS, n_trials)
