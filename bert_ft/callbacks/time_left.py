"""Estimate how far a run is, and how long it will still take."""

from __future__ import annotations

import math
import time
from datetime import timedelta

from lightning.pytorch import Trainer


class TimeLeft:
    """Estimate the remaining time of a run from the steps since its start, including validations.

    The first step isn't counted, since it takes longer than the others.
    """

    def __init__(self) -> None:
        self._first_step: int | None = None
        self._mark = 0.0

    def see(self, step: int) -> None:
        """Start the clock at the first ``step`` reported; later calls change nothing."""
        if self._first_step is None:
            self._first_step, self._mark = step, time.monotonic()

    def seconds(self, step: int, total_steps: float) -> float | None:
        """Return an estimate; ``None`` until there is one."""
        done = 0 if self._first_step is None else step - self._first_step
        if done < 1 or math.isinf(total_steps):
            return None
        return (time.monotonic() - self._mark) / done * max(0.0, total_steps - step)


def shown(seconds: float | None) -> str:
    """Return ``1:02:03``, or dashes if the time is unknown."""
    return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))


def num_steps_each(trainer: Trainer) -> int:
    """Return the number of optimizer steps in an epoch."""
    return max(1, math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches))


def num_epochs(trainer: Trainer) -> int | None:
    """Return the largest number of epochs that a run starts; ``None`` if there is no limit."""
    total = trainer.estimated_stepping_batches
    return None if math.isinf(total) else math.ceil(total / num_steps_each(trainer))
