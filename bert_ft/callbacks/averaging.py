"""Averages of the weights over steps, validated, kept, tested and exported instead of the last weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from bert_ft.errors import ConfigError
from bert_ft.kernels.used_embedding_rows import settle_unused_rows
from bert_ft.limits import BelowOne, Count, Positive, Ratio, TwoOrMore, within_limits
from bert_ft.optim.averaging import AveragingTail, first_averaged_step, move_towards
from bert_ft.optim.schedules import Schedule


class Averaging(Callback, ABC):
    """Average the weights over steps; validate, save and test the average, and end training with it.

    Before the first averaged step nothing differs from training without averaging.

    It is built on torch's ``AveragedModel``, not on Lightning's ``WeightAveraging`` (2.6.6), whose every hook would be
    overridden: that one validates and saves the initial copy before its first update, and finally overwrites the
    trained weights with it; saves the weights of training in weights-only checkpoints; and averages 16-bit weights in
    16 bits instead of at least float32. Checkpoints have the same layout.

    Args:
        start_ratio: share of all optimizer steps before averaging starts; 0 = start after the first step.
        every_n_steps: distance between averaged steps.

    Attributes:
        average: the averaged module, from the start of training on; at first a copy of the module.
    """

    name: str

    @within_limits("averaging")
    def __init__(self, *, start_ratio: Ratio, every_n_steps: Count = 1) -> None:
        self.start_ratio = start_ratio
        self.every_n_steps = every_n_steps
        self.average: AveragedModel | None = None
        self._first_step: int | None = None
        self._latest_step = 0
        self._raw: list[Tensor] | None = None

    @abstractmethod
    def weight(self, num_averaged: int) -> float:
        """Return the share of the newest weights in the average, after ``num_averaged`` others."""

    def schedule(self, schedule: Schedule) -> Schedule | AveragingTail:
        """Return the schedule of the learning rate during averaging."""
        return schedule

    @property
    def num_averaged(self) -> int:
        """Number of steps averaged so far."""
        return 0 if self.average is None else int(self.average.n_averaged)

    def averaged_weights(self) -> dict[str, Tensor]:
        """Return the state of the averaged module, under the module's own names."""
        return self._averaged.module.state_dict()

    def averaged_parameters(self) -> list[Tensor]:
        """Return the average of each of the module's parameters, in their order."""
        return [parameter.detach() for parameter in self._averaged.module.parameters()]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        pl_module.averaging = None  # type: ignore[assignment]  # must not be copied into the average
        # Lightning moves the module to the device and converts its precision only later
        device = trainer.strategy.root_device
        self.average = AveragedModel(pl_module, device=device, multi_avg_fn=self._update, use_buffers=True)
        dtype = torch.float64 if trainer.precision == "64-true" else torch.float32
        for value in _weights(self.average.module):
            if value.is_floating_point():
                value.data = value.data.to(dtype)
        pl_module.averaging = self  # type: ignore[assignment]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first_step = first_averaged_step(trainer.estimated_stepping_batches, self.start_ratio)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        step = trainer.global_step
        assert self._first_step is not None
        since = step - self._first_step
        is_new = step > self._latest_step  # otherwise another batch of the same accumulation window
        if is_new and since >= 0 and since % self.every_n_steps == 0:
            settle_unused_rows(pl_module)
            self._averaged.update_parameters(pl_module)
            self._latest_step = step

    # a copy keeps the weights of training: restored from the average's precision they would be rounded
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.num_averaged:
            settle_unused_rows(pl_module)
            self._raw = [value.detach().clone() for value in _weights(pl_module)]
            _set_weights(pl_module, _weights(self._averaged.module))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._raw is not None:
            _set_weights(pl_module, self._raw)
            self._raw = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.num_averaged:
            settle_unused_rows(pl_module)
            _set_weights(pl_module, _weights(self._averaged.module))

    def state_dict(self) -> dict[str, Any]:
        return {"latest_update_step": self._latest_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._latest_step = state_dict["latest_update_step"]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as the weights, and with it the weights of training for a resumed run."""
        if self.num_averaged:
            checkpoint["current_model_state"] = checkpoint["state_dict"]
            checkpoint["state_dict"] = dict(self.averaged_weights())
            checkpoint["averaging_state"] = {"n_averaged": self._averaged.n_averaged}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average and the training weights; Lightning has loaded the average already."""
        saved_after_first_update = "averaging_state" in checkpoint
        if self.average is not None and saved_after_first_update:
            self.average.module.load_state_dict(checkpoint["state_dict"])
            self.average.n_averaged.copy_(checkpoint["averaging_state"]["n_averaged"])
            pl_module.load_state_dict(checkpoint["current_model_state"])

    @property
    def _averaged(self) -> AveragedModel:
        assert self.average is not None
        return self.average

    def _update(
        self, averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int
    ) -> None:
        move_towards(averaged, current, self.weight(int(num_averaged)))


class StochasticAveraging(Averaging):
    """SWA: the mean of the weights after each averaged step, with a constant or cyclic learning rate.

    Args:
        start_ratio: see ``Averaging``.
        every_n_steps: distance between averaged steps; with cycles, the last step of each is averaged
            instead.
        lr_ratio: learning rate during averaging, as a share of the full one; ``None`` = the rate that the schedule
            has reached at the start of averaging.
        cycle_steps: length of a cycle; ``None`` = a constant rate.
        cycle_end_ratio: rate at the end of a cycle, as a share of the rate at its start.
        follow_schedule: keep the schedule's learning rate instead.
    """

    name = "swa"

    @within_limits("averaging")
    def __init__(
        self,
        *,
        start_ratio: Ratio = 0.5,
        every_n_steps: Count = 1,
        lr_ratio: Positive | None = None,
        cycle_steps: TwoOrMore | None = None,
        cycle_end_ratio: Ratio = 0.1,
        follow_schedule: bool = False,
    ) -> None:
        super().__init__(start_ratio=start_ratio, every_n_steps=cycle_steps or every_n_steps)
        if follow_schedule and (lr_ratio is not None or cycle_steps is not None):
            raise ConfigError(
                "averaging.follow_schedule=true: the schedule sets the learning rate; set averaging.lr_ratio and "
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

    The first steps count for more, so that the initial weights don't dominate the average of a short run: after ``n``
    steps the decay is at most ``(1 + n) / (10 + n)``, as in TensorFlow's ``ExponentialMovingAverage``.
    """

    name = "ema"

    @within_limits("averaging")
    def __init__(self, *, decay: BelowOne = 0.99, start_ratio: Ratio = 0.0, every_n_steps: Count = 1) -> None:
        super().__init__(start_ratio=start_ratio, every_n_steps=every_n_steps)
        self.decay = decay

    def weight(self, num_averaged: int) -> float:
        return 1 - min(self.decay, (1 + num_averaged) / (10 + num_averaged))


def _weights(module: nn.Module) -> list[Tensor]:
    return list(chain(module.parameters(), module.buffers()))


def _set_weights(module: nn.Module, values: Sequence[Tensor]) -> None:
    for weight, value in zip(_weights(module), values, strict=True):
        weight.data.copy_(value)
