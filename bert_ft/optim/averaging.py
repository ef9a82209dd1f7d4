"""Weights averaged over training steps: when, how, and at which learning rate.

Sources: Izmailov et al. 2018, arXiv 1803.05407 (SWA: the mean of the weights at the ends of cycles, or at a constant
rate); Lu et al. 2022, arXiv 2212.05956 (for fine-tuning: over steps, started early, with a high rate).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bert_ft.compat.torch import interpolate_in_place
from bert_ft.errors import ConfigError
from bert_ft.optim.schedules import Schedule


def first_averaged_step(total_steps: float, start_ratio: float) -> int:
    """Return the optimizer step, counted from 1, whose weights are the first in the average.

    Raises:
        ConfigError: the number of steps is infinite.
    """
    if math.isinf(total_steps):
        raise ConfigError(
            f"averaging.start_ratio={start_ratio}: the number of steps is infinite; set trainer.max_epochs or "
            "trainer.max_steps"
        )
    # rounded first, as 0.07 * 100 is a little more than 7
    return max(1, math.ceil(round(start_ratio * total_steps, 6)))


@dataclass(frozen=True, kw_only=True)
class AveragingTail:
    """A schedule up to the first averaged step, then a rate that keeps the weights moving.

    It multiplies the lr of every group, so that the layers' rates keep their ratio.

    Attributes:
        schedule: used until averaging starts.
        start_ratio: share of all steps at which averaging starts.
        lr_ratio: rate from then on, relative to the full lr; ``None`` = the schedule's rate at the start.
        cycle_steps: length of a cycle, in which the rate falls linearly from ``lr_ratio``; ``None`` = constant.
        cycle_end_ratio: rate at the end of a cycle, relative to its start.
    """

    schedule: Schedule
    start_ratio: float
    lr_ratio: float | None = None
    cycle_steps: int | None = None
    cycle_end_ratio: float = 0.1

    def multiplier(self, total_steps: float) -> Callable[[int], float]:
        """Return the function from an optimizer step, counted from 0, to the multiplier.

        Raises:
            ConfigError: the rate at the start would be kept, but belongs to the warm-up.
        """
        before = self.schedule.multiplier(total_steps)
        start = first_averaged_step(total_steps, self.start_ratio)
        if self.lr_ratio is None and before(start) < before(start + 1):
            raise ConfigError(
                f"averaging.start_ratio={self.start_ratio}: step {start} of {int(total_steps)} is in the warm-up, "
                "whose low rate would be kept; start later, or set averaging.lr_ratio"
            )
        top = before(start) if self.lr_ratio is None else self.lr_ratio

        def multiplier(step: int) -> float:
            if step < start:
                return before(step)
            if self.cycle_steps is None:
                return top
            # the last step of a cycle, whose weights are averaged, has the lowest rate
            done = ((step - start) % self.cycle_steps) / max(1, self.cycle_steps - 1)
            return top * (1 - done * (1 - self.cycle_end_ratio))

        return multiplier


@torch.no_grad()
def move_towards(averaged: Sequence[Tensor], current: Sequence[Tensor], weight: float) -> None:
    """Replace each of ``averaged`` by ``(1 - weight) * averaged + weight * current``, in its own precision.

    Values that aren't floating-point numbers are copied.
    """
    means, values = [], []
    for mean, value in zip(averaged, current, strict=True):
        if mean.is_floating_point():
            means.append(mean)
            values.append(value.to(mean.dtype))
        else:
            mean.copy_(value)
    if means:
        interpolate_in_place(means, values, weight)
