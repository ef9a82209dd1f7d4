"""The base class of monitors: which steps they look at, and how their readings reach the loggers."""

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

if TYPE_CHECKING:  # slow to import
    from torch.utils.tensorboard import SummaryWriter


class Monitor(Callback, ABC):
    """A callback that looks at some optimizer steps and changes nothing.

    At such a step it stores its numbers in ``reading``. The trainer's last monitor moves the readings of all
    monitors and processes to the CPU in one transfer, where each monitor of the first process turns its own
    into scalars.

    Args:
        every_n_steps: look at the first optimizer step and at each multiple of this number.
        histogram_every_n_steps: write histograms to TensorBoard at the first step and at each multiple of
            this number, which must be a multiple of ``every_n_steps``; ``None`` = never.

    Attributes:
        reading: ``(num_values,)`` on the device, numbers of the current step that can still be merged; ``None`` if
            there is nothing to report.
        samples: ``(tag, (num_values,) float32)``, values of the current step for histograms.
    """

    @within_limits("monitor")
    def __init__(self, *, every_n_steps: Count, histogram_every_n_steps: Count | None = None) -> None:
        if histogram_every_n_steps is not None and histogram_every_n_steps % every_n_steps:
            raise ConfigError(
                f"monitor: histogram_every_n_steps={histogram_every_n_steps} must be a multiple of "
                f"every_n_steps={every_n_steps}"
            )
        self.every_n_steps = every_n_steps
        self.histogram_every_n_steps = histogram_every_n_steps
        self.reading: Tensor | None = None
        self.samples: list[tuple[str, Tensor]] = []

    @abstractmethod
    def scalars(self, readings: Tensor, step: int) -> dict[str, float]:
        """Return what to log for ``step`` from its readings ``(num_processes, num_values)`` on the CPU."""

    def looks_at(self, step: int) -> bool:
        """Return whether to look at the ``step``-th optimizer step, counted from 1."""
        return step == 1 or step % self.every_n_steps == 0

    def wants_histograms(self, step: int) -> bool:
        """Return whether to make histograms of the ``step``-th optimizer step, which is a monitored one."""
        every = self.histogram_every_n_steps
        return every is not None and (step == 1 or step % every == 0)

    def keep_samples(self, trainer: Trainer, prefix: str, samples: Iterable[tuple[str, Tensor]]) -> None:
        """Keep name → values for histograms of the current step, if there is a writer for them."""
        if next(writers(trainer), None) is not None:
            self.samples = [(prefix + name, values) for name, values in samples]

    def after_batch(self, trainer: Trainer, module: LightningModule, outputs: Any, is_step: bool) -> None:
        """Look at the step of this batch, if it is one: an accumulation window has one, after its last batch."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.after_batch(trainer, pl_module, outputs, ends_window(trainer, batch_idx))
        monitors = [callback for callback in callbacks_of(trainer) if isinstance(callback, Monitor)]
        if self is monitors[-1]:
            _report(trainer, monitors)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.reading, self.samples = None, []


def log_scalars(trainer: Trainer, scalars: dict[str, float]) -> None:
    """Send scalars of the latest optimizer step to all loggers."""
    for logger in trainer.loggers:
        logger.log_metrics(scalars, step=trainer.global_step)


def writers(trainer: Trainer) -> Iterator[SummaryWriter]:
    """Yield TensorBoard's writers, for everything but scalars; only the first process has any."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                yield logger.experiment


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Return the trainer's callbacks in their order."""
    return cast(list[Callback], trainer.callbacks)  # type: ignore[attr-defined]  # Lightning sets it late


def _report(trainer: Trainer, monitors: list[Monitor]) -> None:
    seen = [(monitor, monitor.reading) for monitor in monitors if monitor.reading is not None]
    if not seen:
        return
    own = torch.cat([reading for _, reading in seen])
    readings = [own]
    if trainer.world_size > 1:  # not by Lightning's all_gather, which calls what torch 2.13 deprecates
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
    """Write histograms of values on the CPU; non-finite values are skipped, since TensorBoard refuses them."""
    for tag, values in samples.items():
        if values.isfinite().all():
            for writer in writers(trainer):
                writer.add_histogram(tag, values, trainer.global_step)


def _on_host(tensors: list[Tensor]) -> list[Tensor]:
    """Return the tensors on the CPU, waiting for the device once."""
    pieces = torch.cat([tensor.contiguous().view(torch.uint8).flatten() for tensor in tensors]).cpu()
    parts = pieces.split([tensor.numel() * tensor.element_size() for tensor in tensors])
    return [part.view(tensor.dtype).view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
