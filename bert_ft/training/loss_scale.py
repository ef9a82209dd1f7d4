"""What float16's gradients are multiplied by, so that small ones don't vanish."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.optim import Optimizer


def scaler_of(trainer: Trainer) -> Any | None:
    """The ``torch.amp.GradScaler`` of the trainer's precision; ``None`` where gradients aren't scaled."""
    plugin = trainer.precision_plugin
    return plugin.scaler if isinstance(plugin, MixedPrecision) else None


def loss_scale(trainer: Trainer) -> float:
    """The factor that is in the gradients after a backward pass."""
    scaler = scaler_of(trainer)
    return 1.0 if scaler is None else float(scaler.get_scale())


def unscales_in_step(optimizer: Optimizer) -> bool:
    """Whether the optimizer is given gradients as the loss scale left them: a fused one is."""
    return any(group.get("fused") for group in optimizer.param_groups)
