"""The gradient noise scale during training."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.data import extract_batch_size
from torch import Tensor
from torch.optim import Optimizer

from bert_ft.callbacks.monitored import accumulated_share
from bert_ft.data.packing import TextBatch
from bert_ft.errors import ConfigError
from bert_ft.nn.noise_scale import noise_and_signal
from bert_ft.nn.precision import widest
from bert_ft.training.clipping import gradient_norms
from bert_ft.training.loss_scale import loss_scale, unscales_in_step

DECAY = 0.95  # of the moving averages


class NoiseScale:
    """Moving averages of noise and signal, whose ratio is the gradient noise scale.

    They compare the gradient of an accumulation window's first batch (on this process) with the gradient of
    the whole window (on all processes). This takes a pass over the gradients after the first batch of each
    window, and one before its step.

    Raises:
        ConfigError: the trainer doesn't accumulate.
    """

    def __init__(self, trainer: Trainer, device: torch.device) -> None:
        if trainer.accumulate_grad_batches < 2:
            raise ConfigError(
                "monitor.gradients.noise_scale=true: compares a batch with its accumulation window; set "
                f"trainer.accumulate_grad_batches to 2 or more (it is {trainer.accumulate_grad_batches})"
            )
        self.averages = torch.zeros(2, dtype=widest(device), device=device)  # noise, signal
        self._first: Tensor | None = None
        self._rows: list[int] = []  # of each batch of the window so far

    def begin_batch(self, batch: Any) -> None:
        self._rows.append(len(batch) if isinstance(batch, TextBatch) else extract_batch_size(batch))

    def after_backward(self, trainer: Trainer, module: LightningModule) -> None:
        if self._first is None:
            self._first = _norm_2(trainer, module, 1) / loss_scale(trainer) ** 2

    def before_step(self, trainer: Trainer, module: LightningModule, optimizer: Optimizer) -> None:
        """Add the window to the averages, before its gradients are clipped.

        A window of one batch, as at the end of an epoch, is skipped, and so is one whose gradients overflowed.
        """
        first, rows = self._first, self._rows
        self._first, self._rows = None, []
        if first is None or len(rows) < 2:
            return
        window = _norm_2(trainer, module, len(rows))
        if unscales_in_step(optimizer):
            window = window / loss_scale(trainer) ** 2
        seen = torch.stack(noise_and_signal(first, window, rows[0], sum(rows) * trainer.world_size))
        moved = self.averages * DECAY + seen * (1 - DECAY)
        self.averages = torch.where(seen.isfinite().all(), moved, self.averages)


def _norm_2(trainer: Trainer, module: LightningModule, num_batches: int) -> Tensor:
    """Return the squared norm of the mean gradient over the window's first batches."""
    share = accumulated_share(trainer, module, num_batches)  # Lightning divides by the size of a full window
    norms = gradient_norms([parameter for parameter in module.parameters() if parameter.grad is not None])
    return norms.to(widest(norms.device)).square().sum() / share**2
