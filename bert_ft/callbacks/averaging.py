"""Weights averaged over the last part of training, validated, kept, tested and exported in place of the last ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from bert_ft.errors import ConfigError
from bert_ft.kernels.used_rows import settle_unused_rows
from bert_ft.optim.averaging import AveragingTail, first_averaged_step, move_towards
from bert_ft.optim.schedules import Schedule


class Averaging(WeightAveraging, ABC):
    """Lightning's ``WeightAveraging`` with a start, and without its faults (as of 2.6.6).

    Those are: before its first update it validates and saves the initial copy, and at the end puts that over the
    trained weights; a checkpoint of weights alone gets the weights of training instead of the average; an average of
    16-bit weights is kept in 16 bits. Here nothing happens before the first update, and the average is in float32
    at least.

    Args:
        start_ratio: of all optimizer steps, where averaging starts; 0 = after the first.
        every_n_steps: from one averaged step to the next.
    """

    name: str

    def __init__(self, *, start_ratio: float, every_n_steps: int = 1) -> None:
        super().__init__(multi_avg_fn=self._update)
        if not 0 <= start_ratio <= 1:
            raise ConfigError(f"averaging.start_ratio={start_ratio} must be between 0 and 1")
        if every_n_steps < 1:
            raise ConfigError(f"averaging.every_n_steps={every_n_steps} must be at least 1")
        self.start_ratio = start_ratio
        self.every_n_steps = every_n_steps
        self._first_step: int | None = None
        self._raw: list[Tensor] | None = None

    @abstractmethod
    def weight(self, num_averaged: int) -> float:
        """The share of the newest weights in the average, after ``num_averaged`` others."""

    def schedule(self, schedule: Schedule) -> Schedule | AveragingTail:
        """What the learning rate follows while this averages."""
        return schedule

    @property
    def num_averaged(self) -> int:
        """Of how many steps the average is."""
        return 0 if self._average_model is None else int(self._average_model.n_averaged)

    def averaged_weights(self) -> dict[str, Tensor]:
        """The state of the averaged module, under the module's own names."""
        assert self._average_model is not None
        return self._average_model.module.state_dict()

    def averaged_parameters(self) -> list[Tensor]:
        """The average of each of the module's parameters, in their order."""
        assert self._average_model is not None
        return [parameter.detach() for parameter in self._average_model.module.parameters()]

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is None or self._first_step is None:
            return False
        since = step_idx + 1 - self._first_step
        return since >= 0 and since % self.every_n_steps == 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        pl_module.averaging = None  # type: ignore[assignment]  # isn't to be copied along
        self._device = trainer.strategy.root_device  # where the module is moved to only after this
        super().setup(trainer, pl_module, stage)
        assert self._average_model is not None
        # likewise the module is converted to its precision only after this
        dtype = torch.float64 if trainer.precision == "64-true" else torch.float32
        for value in _weights(self._average_model.module):
            if value.is_floating_point():
                value.data = value.data.to(dtype)
        pl_module.averaging = self  # type: ignore[assignment]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first_step = first_averaged_step(trainer.estimated_stepping_batches, self.start_ratio)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.should_update(step_idx=trainer.global_step - 1):
            settle_unused_rows(pl_module)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    # Lightning's own swap goes through the average and would round it to the module's precision
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.num_averaged:
            settle_unused_rows(pl_module)
            self._raw = [value.detach().clone() for value in _weights(pl_module)]
            self._copy_average_to_current(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._raw is not None:
            for value, raw in zip(_weights(pl_module), self._raw, strict=True):
                value.data.copy_(raw)
            self._raw = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.num_averaged:
            settle_unused_rows(pl_module)
            super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.num_averaged:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved_after_first_update = "averaging_state" in checkpoint
        if saved_after_first_update:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _update(self, averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor) -> None:
        move_towards(averaged, current, self.weight(int(num_averaged)))


class StochasticAveraging(Averaging):
    """SWA: the mean of the weights after each averaged step, under a rate that is constant or runs in cycles.

    Args:
        start_ratio: of all optimizer steps, where averaging starts.
        every_n_steps: from one averaged step to the next; with cycles it is their ends that are averaged.
        lr_ratio: of the full lr, from the start on; ``None`` = what the schedule has come down to there.
        cycle_steps: length of a cycle; ``None`` = a constant rate.
        cycle_end_ratio: where the rate of a cycle ends, as a share of where it began.
        follow_schedule: go on with the schedule instead.
    """

    name = "swa"

    def __init__(
        self,
        *,
        start_ratio: float = 0.5,
        every_n_steps: int = 1,
        lr_ratio: float | None = None,
        cycle_steps: int | None = None,
        cycle_end_ratio: float = 0.1,
        follow_schedule: bool = False,
    ) -> None:
        super().__init__(start_ratio=start_ratio, every_n_steps=cycle_steps or every_n_steps)
        if follow_schedule and (lr_ratio is not None or cycle_steps is not None):
            raise ConfigError(
                "averaging.follow_schedule=true: the rate is the schedule's; set averaging.lr_ratio and "
                "averaging.cycle_steps to null"
            )
        self.lr_ratio = lr_ratio
        self.cycle_steps = cycle_steps
        self.cycle_end_ratio = cycle_end_ratio
        self.follow_schedule = follow_schedule

    def weight(self, num_averaged: int) -> float:
        return 1 / (num_averaged + 1)

    def schedule(self, schedule: Schedule) -> Schedule | AveragingTail:
        if self.follow_schedule:
            return schedule
        return AveragingTail(
            schedule=schedule,
            start_ratio=self.start_ratio,
            lr_ratio=self.lr_ratio,
            cycle_steps=self.cycle_steps,
            cycle_end_ratio=self.cycle_end_ratio,
        )


class ExponentialAveraging(Averaging):
    """EMA: each averaged step moves the average by ``1 - decay`` towards its weights.

    The first steps count for more: the decay is at most ``(1 + n) / (10 + n)`` after ``n`` of them, as in
    TensorFlow's ``ExponentialMovingAverage``, so that a short run isn't judged by where it began.
    """

    name = "ema"

    def __init__(self, *, decay: float = 0.99, start_ratio: float = 0.0, every_n_steps: int = 1) -> None:
        super().__init__(start_ratio=start_ratio, every_n_steps=every_n_steps)
        if not 0 <= decay < 1:
            raise ConfigError(f"averaging.decay={decay} must be at least 0 and below 1")
        self.decay = decay

    def weight(self, num_averaged: int) -> float:
        return 1 - min(self.decay, (1 + num_averaged) / (10 + num_averaged))


def _weights(module: nn.Module) -> list[Tensor]:
    return list(chain(module.parameters(), module.buffers()))
