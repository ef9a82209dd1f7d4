"""The factor that keeps small float16 gradients from underflowing."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.optim import Optimizer


def scaler_of(trainer: Trainer) -> Any | None:
    """Return the ``torch.amp.GradScaler`` of the trainer's precision; ``None`` if gradients aren't scaled."""
    plugin = trainer.precision_plugin
    return plugin.scaler if isinstance(plugin, MixedPrecision) else None


def loss_scale(trainer: Trainer) -> float:
    """Return the factor in the gradients after a backward pass."""
    scaler = scaler_of(trainer)
    return 1.0 if scaler is None else float(scaler.get_scale())


def unscales_in_step(optimizer: Optimizer) -> bool:
    """Return whether the optimizer itself unscales the gradients, as fused optimizers do."""
    return any(group.get("fused") for group in optimizer.param_groups)
