"""The gradient noise scale while training runs."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.data import extract_batch_size
from torch import Tensor

from bert_ft.data.packing import TextBatch
from bert_ft.errors import ConfigError
from bert_ft.nn.noise_scale import noise_and_signal
from bert_ft.training.clipping import gradient_norms


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
        self.averages = torch.zeros(2, dtype=torch.float64, device=device)  # of noise and signal
        self._first: Tensor | None = None
        self._first_rows = 0
        self._rows = 0

    def begin_batch(self, batch: Any) -> None:
        self._rows += len(batch) if isinstance(batch, TextBatch) else extract_batch_size(batch)

    def after_backward(self, trainer: Trainer, module: LightningModule) -> None:
        if self._first is None:
            share = getattr(module, "accumulated_share", 1 / trainer.accumulate_grad_batches)
            self._first = _norm_2(module) / share**2
            self._first_rows = self._rows

    def before_step(self, trainer: Trainer, module: LightningModule) -> None:
        """Takes the window into the averages; gradients are those before clipping."""
        assert self._first is not None
        rows = self._rows * trainer.world_size
        if rows > self._first_rows:  # the last window of an epoch may be a single batch
            seen = noise_and_signal(self._first, _norm_2(module), self._first_rows, rows)
            self.averages = self.averages * self.decay + torch.stack(seen) * (1 - self.decay)
        self._first, self._rows = None, 0


def _norm_2(module: LightningModule) -> Tensor:
    trained = [parameter for parameter in module.parameters() if parameter.grad is not None]
    return gradient_norms(trained).double().square().sum()
