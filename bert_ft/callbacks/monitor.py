"""What monitors have in common: when they look, and how what they saw reaches the loggers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, distributed

from bert_ft.errors import ConfigError

if TYPE_CHECKING:  # it takes a while to import, and the logger that needs it does
    from torch.utils.tensorboard import SummaryWriter


class Monitor(Callback):
    """A callback that looks at some optimizer steps and changes nothing.

    At such a step it leaves what it saw in ``reading``: one vector on the device, raw numbers that can still be
    merged. The last monitor of the trainer takes those of all of them in one transfer, from all processes, and
    has each make its scalars of them on the first one.

    Args:
        every_n_steps: look at the first optimizer step, and at each that this number divides.

    Attributes:
        reading: ``(num_values,)``, of the step that runs; ``None`` where there is nothing to report.
    """

    def __init__(self, *, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise ConfigError(f"monitor: every_n_steps={every_n_steps} must be at least 1")
        self.every_n_steps = every_n_steps
        self.reading: Tensor | None = None

    def scalars(self, readings: Tensor, step: int) -> dict[str, float]:
        """What is logged of the readings ``(num_processes, num_values)``, on the CPU, that ``step`` left."""
        raise NotImplementedError

    def is_due(self, trainer: Trainer, batch_idx: int) -> bool:
        """Whether this batch, before it is trained on, completes an optimizer step that is to be looked at."""
        return ends_window(trainer, batch_idx) and self.looks_at(trainer.global_step + 1)

    def looks_at(self, step: int) -> bool:
        """Whether the ``step``-th optimizer step, counted from 1, is to be looked at."""
        return step == 1 or step % self.every_n_steps == 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        monitors = [callback for callback in _callbacks(trainer) if isinstance(callback, Monitor)]
        if self is monitors[-1]:
            _report(trainer, monitors)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.reading = None


def ends_window(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the optimizer steps after this batch."""
    return trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def log_scalars(trainer: Trainer, scalars: dict[str, float]) -> None:
    """To all loggers, at the optimizer steps that are done."""
    for logger in trainer.loggers:
        logger.log_metrics(scalars, step=trainer.global_step)


def writers(trainer: Trainer) -> Iterator[SummaryWriter]:
    """TensorBoard's writers, for what isn't a scalar; none on other processes than the first."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                yield logger.experiment


def _report(trainer: Trainer, monitors: list[Monitor]) -> None:
    seen = [(monitor, monitor.reading) for monitor in monitors if monitor.reading is not None]
    if not seen:
        return
    readings = [torch.cat([reading for _, reading in seen])]
    if trainer.world_size > 1:  # not by Lightning's all_gather, which calls what torch 2.13 gives up
        (own,) = readings
        readings = [torch.empty_like(own) for _ in range(trainer.world_size)]
        distributed.all_gather(readings, own)
    parts = torch.stack(readings).cpu().split([len(reading) for _, reading in seen], dim=1)
    scalars: dict[str, float] = {}
    for (monitor, _), part in zip(seen, parts, strict=True):
        monitor.reading = None
        if trainer.is_global_zero:
            scalars |= monitor.scalars(part, trainer.global_step)
    log_scalars(trainer, scalars)


def _callbacks(trainer: Trainer) -> list[Callback]:
    return cast(list[Callback], trainer.callbacks)  # type: ignore[attr-defined]  # Lightning sets it late
