"""Gradient clipping that says what it did."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm


def clip_gradients(
    parameters: Sequence[nn.Parameter], limit: float | None, algorithm: str
) -> tuple[Tensor, Tensor]:
    """Clip in place; the L2 norm of all gradients before and after.

    Args:
        parameters: those of the optimizer; one without a gradient is left out.
        limit: of the norm, or of each value; ``None`` clips nothing.
        algorithm: ``norm`` or ``value``.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:  # which torch's clipping by value doesn't take
        return torch.tensor(0.0), torch.tensor(0.0)
    before = get_total_norm(gradients)
    if limit is None:
        return before, before
    if algorithm == "value":
        clip_grad_value_(parameters, limit)
        return before, get_total_norm(gradients)
    clip_grads_with_norm_(parameters, limit, before)
    # what torch multiplies by: at most 1, with 1e-6 against a norm of 0
    return before, before * (limit / (before + 1e-6)).clamp(max=1.0)
