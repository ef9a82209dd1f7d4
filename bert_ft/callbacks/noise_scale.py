"""The gradient noise scale while training runs."""

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


class NoiseScale:
    """Estimates it from the first batch of each accumulation window, beside the whole window.

    The first batch's gradient is that of its own process, the window's that of all. Takes a pass over the gradients
    after the first batch of each window, and one before the optimizer's step.

    Args:
        trainer: which accumulates.
        device: of the module.
        decay: of the moving averages of noise and signal, whose ratio it is.

    Raises:
        ConfigError: nothing is accumulated.
    """

    def __init__(self, trainer: Trainer, device: torch.device, *, decay: float = 0.95) -> None:
        if trainer.accumulate_grad_batches < 2:
            raise ConfigError(
                "monitor.gradients.noise_scale=true: compares a batch with its accumulation window; set "
                f"trainer.accumulate_grad_batches to 2 or more (it is {trainer.accumulate_grad_batches})"
            )
        self.decay = decay
        self.averages = torch.zeros(2, dtype=widest(device), device=device)  # of noise and signal
        self._first: Tensor | None = None
        self._rows: list[int] = []  # of each batch of the window so far

    def begin_batch(self, batch: Any) -> None:
        self._rows.append(len(batch) if isinstance(batch, TextBatch) else extract_batch_size(batch))

    def after_backward(self, trainer: Trainer, module: LightningModule) -> None:
        if self._first is None:
            self._first = self._norm_2(trainer, module) / loss_scale(trainer) ** 2

    def before_step(self, trainer: Trainer, module: LightningModule, optimizer: Optimizer) -> None:
        """Takes the window into the averages; gradients are those before clipping.

        A window of a single batch, as an epoch can end with, tells nothing, nor does one that overflowed.
        """
        first, rows = self._first, self._rows
        self._first, self._rows = None, []
        if first is None or len(rows) < 2:
            return
        window = self._norm_2(trainer, module, len(rows))
        if unscales_in_step(optimizer):
            window = window / loss_scale(trainer) ** 2
        seen = torch.stack(noise_and_signal(first, window, rows[0], sum(rows) * trainer.world_size))
        moved = self.averages * self.decay + seen * (1 - self.decay)
        self.averages = torch.where(seen.isfinite().all(), moved, self.averages)

    def _norm_2(self, trainer: Trainer, module: LightningModule, num_batches: int = 1) -> Tensor:
        """Of the mean gradient over the window's batches so far: Lightning divides by the number in a full one."""
        share = accumulated_share(trainer, module, num_batches)
        trained = [parameter for parameter in module.parameters() if parameter.grad is not None]
        norms = gradient_norms(trained)
        return norms.to(widest(norms.device)).square().sum() / share**2
