"""What monitors have in common: when they look, and how what they saw reaches the loggers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, distributed

from bert_ft.errors import ConfigError
from bert_ft.limits import Count, within_limits
from bert_ft.training.accumulation import ends_window

if TYPE_CHECKING:  # it takes a while to import, and the logger that needs it does
    from torch.utils.tensorboard import SummaryWriter


class Monitor(Callback, ABC):
    """A callback that looks at some optimizer steps and changes nothing.

    At such a step it leaves what it saw in ``reading``: one vector on the device, raw numbers that can still be
    merged. The last monitor of the trainer takes those of all of them in one transfer, from all processes, and
    has each make its scalars of them on the first one.

    Args:
        every_n_steps: look at the first optimizer step, and at each that this number divides.

    Attributes:
        reading: ``(num_values,)``, of the step that runs; ``None`` where there is nothing to report.
        samples: ``(tag, (num_values,) float32)``, values of that step that TensorBoard gets as histograms.
    """

    @within_limits("monitor")
    def __init__(self, *, every_n_steps: Count) -> None:
        self.every_n_steps = every_n_steps
        self.reading: Tensor | None = None
        self.samples: list[tuple[str, Tensor]] = []

    @abstractmethod
    def scalars(self, readings: Tensor, step: int) -> dict[str, float]:
        """What is logged of the readings ``(num_processes, num_values)``, on the CPU, that ``step`` left."""

    def is_due(self, trainer: Trainer, batch_idx: int) -> bool:
        """Whether this batch, before it is trained on, completes an optimizer step that is to be looked at."""
        return ends_window(trainer, batch_idx) and self.looks_at(trainer.global_step + 1)

    def looks_at(self, step: int) -> bool:
        """Whether the ``step``-th optimizer step, counted from 1, is to be looked at."""
        return step == 1 or step % self.every_n_steps == 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        monitors = [callback for callback in callbacks_of(trainer) if isinstance(callback, Monitor)]
        if self is monitors[-1]:
            _report(trainer, monitors)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.reading, self.samples = None, []


class HistogramMonitor(Monitor):
    """A monitor that can show all values in TensorBoard, as histograms.

    Args:
        every_n_steps: see ``Monitor``.
        histogram_every_n_steps: TensorBoard gets histograms at the first step, and at each that this number, a multiple
            of the other, divides; ``None`` = never.
    """

    @within_limits("monitor")
    def __init__(self, *, every_n_steps: Count, histogram_every_n_steps: Count | None = None) -> None:
        super().__init__(every_n_steps=every_n_steps)
        if histogram_every_n_steps is not None and histogram_every_n_steps % every_n_steps:
            raise ConfigError(
                f"monitor: histogram_every_n_steps={histogram_every_n_steps} must be a multiple of "
                f"every_n_steps={every_n_steps}"
            )
        self.histogram_every_n_steps = histogram_every_n_steps

    def wants_histograms(self, step: int) -> bool:
        """Whether there are histograms of the ``step``-th optimizer step, which is looked at."""
        every = self.histogram_every_n_steps
        return every is not None and (step == 1 or step % every == 0)

    def keep_samples(self, trainer: Trainer, samples: Iterable[tuple[str, Tensor]]) -> None:
        """For histograms of the step that runs; taken only where there is a writer."""
        if next(writers(trainer), None) is not None:
            self.samples = list(samples)


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


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """The trainer's, in their order."""
    return cast(list[Callback], trainer.callbacks)  # type: ignore[attr-defined]  # Lightning sets it late


def _report(trainer: Trainer, monitors: list[Monitor]) -> None:
    seen = [(monitor, monitor.reading) for monitor in monitors if monitor.reading is not None]
    if not seen:
        return
    readings = [torch.cat([reading for _, reading in seen])]
    if trainer.world_size > 1:  # not by Lightning's all_gather, which calls what torch 2.13 gives up
        (own,) = readings
        readings = [torch.empty_like(own) for _ in range(trainer.world_size)]
        distributed.all_gather(readings, own)
    samples = [sample for monitor in monitors for sample in monitor.samples]
    on_host = _on_host([torch.stack(readings), *(values for _, values in samples)])
    parts = on_host[0].split([len(reading) for _, reading in seen], dim=1)
    scalars: dict[str, float] = {}
    for (monitor, _), part in zip(seen, parts, strict=True):
        monitor.reading = None
        if trainer.is_global_zero:
            scalars |= monitor.scalars(part, trainer.global_step)
    log_scalars(trainer, scalars)
    for monitor in monitors:
        monitor.samples = []
    if samples:
        write_histograms(trainer, dict(zip([tag for tag, _ in samples], on_host[1:], strict=True)))


def write_histograms(trainer: Trainer, samples: dict[str, Tensor]) -> None:
    """Of values on the CPU; those that aren't all finite TensorBoard doesn't take."""
    for tag, values in samples.items():
        if values.isfinite().all():
            for writer in writers(trainer):
                writer.add_histogram(tag, values, trainer.global_step)


def _on_host(tensors: list[Tensor]) -> list[Tensor]:
    """The same on the CPU, for which the device is waited for once."""
    pieces = torch.cat([tensor.contiguous().view(torch.uint8).flatten() for tensor in tensors]).cpu()
    parts = pieces.split([tensor.numel() * tensor.element_size() for tensor in tensors])
    return [part.view(tensor.dtype).view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
