"""Build the optimizer of a stage."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig

from bert_ft.config.instantiate import build
from bert_ft.errors import ConfigError
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.optim.learning_rate import default_lr

log = logging.getLogger(__name__)
_UNTIL_DERIVED = 1e-4  # any lr, with which the algorithm's other settings are tried


def build_optimizer(settings: DictConfig) -> LayerwiseOptimizer:
    """Return the optimizer, after trying the settings of its algorithm; see ``with_default_lr`` for ``lr: null``.

    Raises:
        ConfigError: the algorithm rejects its settings.
    """
    algorithm = build(settings.algorithm)
    lr = _UNTIL_DERIVED if settings.lr is None else settings.lr
    try:  # wrong settings fail here, not when training starts
        algorithm([torch.zeros(1, requires_grad=True)], lr=lr)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"optimizer.algorithm._target_={settings.algorithm._target_}: {error}") from error
    return LayerwiseOptimizer(
        algorithm=algorithm,
        lr=lr,
        layer_decay=settings.layer_decay,
        weight_decay=settings.weight_decay,
        head_lr=settings.head_lr,
    )


def with_default_lr(
    optimizer: LayerwiseOptimizer, settings: DictConfig, encoder_config: Any
) -> LayerwiseOptimizer:
    """Return the optimizer with the encoder's default lr; print it, and set it in ``settings``."""
    hidden_size, num_layers = encoder_config.hidden_size, encoder_config.num_hidden_layers
    settings.lr = default_lr(hidden_size, num_layers)
    log.info(
        "optimizer.lr: %g, the default for an encoder of %d layers, %d wide; see docs/learning_rate.md",
        *(settings.lr, num_layers, hidden_size),
    )
    return replace(optimizer, lr=settings.lr)
