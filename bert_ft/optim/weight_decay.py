"""Weight-decay schedules, and the scheduler that writes them into an optimizer's groups.

``torch.optim.AdamW`` multiplies each weight by ``1 - lr * weight_decay`` at each step. Only the factor ``weight_decay``
is scheduled here; the lr schedule and the layer's lr multiply it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch.optim import Optimizer

from bert_ft.limits import NotNegative, check_limits


class WeightDecaySchedule(ABC):
    """Return a function from an optimizer step to the multiplier of each group's weight decay."""

    @abstractmethod
    def multiplier(self, total_steps: float) -> Callable[[int], float]:
        """Return the function from an optimizer step, counted from 0, to the multiplier; constant after the end."""


class Constant(WeightDecaySchedule):
    """The full weight decay throughout."""

    def multiplier(self, total_steps: float) -> Callable[[int], float]:
        return lambda step: 1.0


@dataclass(frozen=True, kw_only=True)
class _ToEndRatio(WeightDecaySchedule):
    """From 1 at the first step to ``end_ratio`` at the end; above 1, weight decay grows.

    Source: Caron et al. 2021, arXiv 2104.14294, where it grows on a cosine.
    """

    end_ratio: NotNegative

    def __post_init__(self) -> None:
        check_limits("weight_decay_schedule", self)

    def multiplier(self, total_steps: float) -> Callable[[int], float]:
        def multiplier(step: int) -> float:
            progress = min(step / max(1, total_steps), 1.0)
            return self.end_ratio + (1.0 - self.end_ratio) * self._remaining(progress)

        return multiplier

    @abstractmethod
    def _remaining(self, progress: float) -> float:
        """Return the remaining share, 1 to 0, at ``progress`` 0 to 1."""


class Linear(_ToEndRatio):
    """Along a straight line."""

    def _remaining(self, progress: float) -> float:
        return 1.0 - progress


class Cosine(_ToEndRatio):
    """Along half a cosine."""

    def _remaining(self, progress: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * progress))


class WeightDecayScheduler:
    """Write ``initial_weight_decay * multiplier(step)`` into each group of an optimizer.

    The initial value is kept in the group, so that it is saved and restored with the optimizer's state.
    """

    def __init__(self, optimizer: Optimizer, multiplier: Callable[[int], float]) -> None:
        self.optimizer = optimizer
        self.multiplier = multiplier

    def step(self, step: int) -> None:
        """Set the weight decay of the optimizer step ``step``, counted from 0; call it before that step."""
        # not cached: load_state_dict replaces the groups
        for group in self.optimizer.param_groups:
            initial = group.setdefault("initial_weight_decay", group["weight_decay"])
            group["weight_decay"] = initial * self.multiplier(step)
