"""Fixes for families that can't train in 16 bits as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel


class _HalfBiases:
    """Mixin for DeBERTa's attention, which adds its biases outside of any layer.

    Under autocast the biases, and so the query, stay in float32, while the scores have 16 bits; they are masked by the
    smallest number of the query's type, which 16 bits can't hold.
    """

    def transpose_for_scores(self, states: Tensor) -> Tensor:
        kind = states.device.type
        if torch.is_autocast_enabled(kind):
            states = states.to(torch.get_autocast_dtype(kind))
        return super().transpose_for_scores(states)  # type: ignore[misc]


_CLASSES: dict[type, type] = {}


def mend_half_precision(encoder: PreTrainedModel) -> None:
    """Let DeBERTa (v1) run under autocast, in place; without autocast nothing changes."""
    if encoder.config.model_type != "deberta":
        return
    for module in encoder.modules():
        if hasattr(module, "q_bias"):
            kind: Any = type(module)
            module.__class__ = _CLASSES.setdefault(
                kind, type(f"HalfBiases{kind.__name__}", (_HalfBiases, kind), {})
            )
