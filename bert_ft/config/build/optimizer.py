"""Build the optimizer of a stage."""

from __future__ import annotations

import torch
from omegaconf import DictConfig

from bert_ft.config.instantiate import build
from bert_ft.errors import ConfigError
from bert_ft.optim.layerwise import LayerwiseOptimizer


def build_optimizer(settings: DictConfig) -> LayerwiseOptimizer:
    """Return the optimizer, after trying the settings of its algorithm.

    Raises:
        ConfigError: the algorithm rejects its settings.
    """
    algorithm = build(settings.algorithm)
    try:  # wrong settings fail here, not when training starts
        algorithm([torch.zeros(1, requires_grad=True)], lr=settings.lr)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"optimizer.algorithm._target_={settings.algorithm._target_}: {error}") from error
    return LayerwiseOptimizer(
        algorithm=algorithm,
        lr=settings.lr,
        layer_decay=settings.layer_decay,
        weight_decay=settings.weight_decay,
        head_lr=settings.head_lr,
    )
