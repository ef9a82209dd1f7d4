"""What keeps a family from training in 16 bits, mended where that is small."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class _HalfBiases:
    """Mixed into DeBERTa's attention, whose biases are added outside of any layer.

    Under autocast they stay in float32, and so does the query that they are added to; its scores come in 16 bits,
    and are masked by the smallest number of the query's type, which 16 bits don't have.
    """

    def transpose_for_scores(self, states: Tensor) -> Tensor:
        kind = states.device.type
        if torch.is_autocast_enabled(kind):
            states = states.to(torch.get_autocast_dtype(kind))
        return super().transpose_for_scores(states)  # type: ignore[misc]


_CLASSES: dict[str, type[nn.Module]] = {}


def mend_half_precision(encoder: PreTrainedModel) -> None:
    """Let DeBERTa (v1) run under autocast, in place; without autocast nothing changes."""
    if encoder.config.model_type != "deberta":
        return
    for module in encoder.modules():
        if hasattr(module, "q_bias") and not isinstance(module, _HalfBiases):
            kind: Any = type(module)
            name = f"HalfBiases{kind.__name__}"
            module.__class__ = _CLASSES.setdefault(name, type(name, (_HalfBiases, kind), {}))
