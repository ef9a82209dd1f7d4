"""lr schedules: each turns the number of training steps into a function step → multiplier of the lr.

They equal ``transformers.get_*_schedule_with_warmup`` at each step up to the last.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from bert_ft.errors import ConfigError
from bert_ft.limits import Count, CountOrZero, Ratio, check_limits, one_of


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """Linear warm-up from 0 to 1, then the subclass's shape.

    The warm-up takes ``warmup_steps`` optimizer steps, or the share ``warmup_ratio`` of all steps (rounded up, as in the
    Hugging Face Trainer); with both ``None`` there is none.
    """

    warmup_steps: CountOrZero | None = None
    warmup_ratio: Ratio | None = None

    def __post_init__(self) -> None:
        check_limits("schedule", self)
        if self.warmup_steps is not None and self.warmup_ratio is not None:
            raise ConfigError(
                f"schedule.warmup_steps={self.warmup_steps} and schedule.warmup_ratio={self.warmup_ratio} "
                "exclude each other; set one of them to null"
            )

    def multiplier(self, total_steps: float) -> Callable[[int], float]:
        """Return the function from an optimizer step, counted from 0, to the multiplier; constant after the end.

        Raises:
            ConfigError: the warm-up is longer than the training, or the number of steps is infinite.
        """
        if math.isinf(total_steps):
            raise ConfigError(
                "schedule: the number of steps is infinite; set trainer.max_epochs or trainer.max_steps"
            )
        total_steps = int(total_steps)
        warmup_steps = self._num_warmup_steps(total_steps)
        after_warmup = self._after_warmup(warmup_steps, total_steps)

        def multiplier(step: int) -> float:
            step = min(step, total_steps)
            return step / warmup_steps if step < warmup_steps else after_warmup(step)

        return multiplier

    def _num_warmup_steps(self, total_steps: int) -> int:
        if self.warmup_ratio is not None:
            return math.ceil(self.warmup_ratio * total_steps)
        warmup_steps = self.warmup_steps or 0
        if warmup_steps > total_steps:
            raise ConfigError(
                f"schedule.warmup_steps={warmup_steps} exceeds total_steps={total_steps}; "
                "lower it or raise trainer.max_epochs or trainer.max_steps"
            )
        return warmup_steps

    @abstractmethod
    def _after_warmup(self, warmup_steps: int, total_steps: int) -> Callable[[int], float]:
        """Return the multiplier at the steps ``warmup_steps..total_steps``."""


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The full lr."""

    def _after_warmup(self, warmup_steps: int, total_steps: int) -> Callable[[int], float]:
        return lambda step: 1.0


@dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """Linear decay to 0."""

    def _after_warmup(self, warmup_steps: int, total_steps: int) -> Callable[[int], float]:
        num_decay_steps = max(1, total_steps - warmup_steps)
        return lambda step: (total_steps - step) / num_decay_steps


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Decay to ``min_lr_ratio`` of the full lr on half a cosine."""

    min_lr_ratio: Ratio = 0.0

    def _after_warmup(self, warmup_steps: int, total_steps: int) -> Callable[[int], float]:
        num_decay_steps = max(1, total_steps - warmup_steps)

        def multiplier(step: int) -> float:
            progress = (step - warmup_steps) / num_decay_steps
            height = 0.5 * (1.0 + math.cos(math.pi * progress))
            return height * (1.0 - self.min_lr_ratio) + self.min_lr_ratio

        return multiplier


@dataclass(frozen=True, kw_only=True)
class InverseSqrt(Schedule):
    """Decay with ``1 / sqrt`` of the steps, as in Vaswani et al. 2017, arXiv 1706.03762.

    ``timescale`` is the number of steps from the warm-up to ``1 / sqrt(2)`` of the full lr; ``None`` = the length of the
    warm-up, or 10,000 without one.
    """

    timescale: Count | None = None

    def _after_warmup(self, warmup_steps: int, total_steps: int) -> Callable[[int], float]:
        timescale = self.timescale or warmup_steps or 10_000
        return lambda step: 1.0 / math.sqrt((step - warmup_steps + timescale) / timescale)


_DECAY_SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "1-sqrt": lambda progress: 1.0 - math.sqrt(progress),
}


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(Schedule):
    """The full lr, then decay to 0 over the last ``decay_ratio`` of all steps (rounded down).

    ``1-sqrt`` is the best shape in Hägele et al. 2024, arXiv 2405.18392.
    """

    decay_ratio: Ratio = 0.2
    shape: Annotated[str, one_of(_DECAY_SHAPES)] = "1-sqrt"

    def _after_warmup(self, warmup_steps: int, total_steps: int) -> Callable[[int], float]:
        num_decay_steps = int(self.decay_ratio * total_steps)
        start = total_steps - num_decay_steps
        if start < warmup_steps:
            raise ConfigError(
                f"schedule.decay_ratio={self.decay_ratio} takes {num_decay_steps} of total_steps={total_steps}, "
                f"but the warm-up takes {warmup_steps}; lower one of them"
            )
        decay = _DECAY_SHAPES[self.shape]
        return lambda step: 1.0 if step < start else decay((step - start) / max(1, num_decay_steps))
