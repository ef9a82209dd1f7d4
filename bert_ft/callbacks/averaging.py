"""Weights averaged over the last part of training, validated, kept, tested and exported in place of the last ones."""

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
    """Average the weights over steps; validate, keep and finally put in place the average instead of the last weights.

    Until the first averaged step everything is as without it.

    It is built on torch's ``AveragedModel``, not on Lightning's ``WeightAveraging``, whose every hook would be overridden:
    that one (2.6.6) validates and saves the initial copy before its first update, and at the end puts it over the
    trained weights; gives checkpoints of weights alone the weights of training; and keeps an average of 16-bit weights
    in 16 bits, here in float32 at least. Checkpoints have the same layout.

    Args:
        start_ratio: of all optimizer steps, where averaging starts; 0 = after the first.
        every_n_steps: from one averaged step to the next.

    Attributes:
        average: the averaged module, while and after it is trained; at first a copy of the module.
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
        """Return what the learning rate follows while this averages."""
        return schedule

    @property
    def num_averaged(self) -> int:
        """Number of steps averaged so far."""
        return 0 if self.average is None else int(self.average.n_averaged)

    def averaged_weights(self) -> dict[str, Tensor]:
        """Return the state of the averaged module, under the module's own names."""
        assert self.average is not None
        return self.average.module.state_dict()

    def averaged_parameters(self) -> list[Tensor]:
        """Return the average of each of the module's parameters, in their order."""
        assert self.average is not None
        return [parameter.detach() for parameter in self.average.module.parameters()]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        pl_module.averaging = None  # type: ignore[assignment]  # isn't to be copied along
        # the module is moved to the device, and converted to its precision, only after this
        device = trainer.strategy.root_device
        self.average = AveragedModel(pl_module, device=device, multi_avg_fn=self._update, use_buffers=True)
        dtype = torch.float64 if trainer.precision == "64-true" else torch.float32
        for value in _weights(self.average.module):
            if value.is_floating_point():
                value.data = value.data.to(dtype)
        pl_module.averaging = self  # type: ignore[assignment]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first_step = first_averaged_step(trainer.estimated_stepping_batches, self.start_ratio)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        is_new = step > self._latest_step  # else another batch of the same accumulation window
        if is_new and self._is_averaged(step):
            assert self.average is not None
            settle_unused_rows(pl_module)
            self.average.update_parameters(pl_module)
            self._latest_step = step

    # the weights are put back from a copy: on the way through the average they would be rounded
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.num_averaged:
            settle_unused_rows(pl_module)
            self._raw = [value.detach().clone() for value in _weights(pl_module)]
            self._put_in_place(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._raw is not None:
            _set_weights(pl_module, self._raw)
            self._raw = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.num_averaged:
            settle_unused_rows(pl_module)
            self._put_in_place(pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"latest_update_step": self._latest_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._latest_step = state_dict["latest_update_step"]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as the weights, and those of training beside it for a resumed run."""
        if self.average is not None and self.num_averaged:
            checkpoint["current_model_state"] = checkpoint["state_dict"]
            checkpoint["state_dict"] = dict(self.averaged_weights())
            checkpoint["averaging_state"] = {"n_averaged": self.average.n_averaged}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore both; Lightning has loaded the average into the module by now."""
        saved_after_first_update = "averaging_state" in checkpoint
        if self.average is not None and saved_after_first_update:
            self.average.module.load_state_dict(checkpoint["state_dict"])
            self.average.n_averaged.copy_(checkpoint["averaging_state"]["n_averaged"])
            pl_module.load_state_dict(checkpoint["current_model_state"])

    def _is_averaged(self, step: int) -> bool:
        assert self._first_step is not None
        since = step - self._first_step
        return since >= 0 and since % self.every_n_steps == 0

    def _put_in_place(self, module: nn.Module) -> None:
        assert self.average is not None
        _set_weights(module, _weights(self.average.module))

    def _update(
        self, averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int
    ) -> None:
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
