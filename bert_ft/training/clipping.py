"""Gradient clipping that records the norms before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from bert_ft.compat.torch import l2_norms


@dataclass(frozen=True)
class ClippedGradients:
    """Norms of the gradients of an optimizer step, before and after clipping.

    Attributes:
        parameters: the parameters that have a gradient.
        norms: ``(num_parameters,)``, the L2 norm of each before clipping.
        before: the L2 norm of all before clipping.
        after: the L2 norm of all after clipping.
    """

    parameters: list[nn.Parameter]
    norms: Tensor
    before: Tensor
    after: Tensor


def clip_gradients(
    parameters: Sequence[nn.Parameter], limit: float | None, algorithm: str
) -> ClippedGradients:
    """Clip the gradients in place.

    Args:
        parameters: parameters of the optimizer; those without a gradient are skipped.
        limit: maximum of the norm, or of each value; ``None`` = no clipping.
        algorithm: ``norm`` or ``value``.
    """
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    norms = gradient_norms(trained)
    before = torch.linalg.vector_norm(norms)
    after = before
    if limit is not None and trained:  # torch's clipping by value fails without parameters
        if algorithm == "value":
            clip_grad_value_(trained, limit)
            after = get_total_norm([parameter.grad for parameter in trained if parameter.grad is not None])
        else:
            clip_grads_with_norm_(trained, limit, before)
            # torch's factor: at most 1; 1e-6 avoids a division by 0
            after = before * (limit / (before + 1e-6)).clamp(max=1.0)
    return ClippedGradients(trained, norms, before, after)


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """Return the parameters of all groups of the optimizer."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def gradient_norms(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the L2 norm of each parameter's gradient, ``(num_parameters,)``; each must have one."""
    return norms_of([parameter.grad for parameter in parameters if parameter.grad is not None])


def norms_of(tensors: Sequence[Tensor]) -> Tensor:
    """Return the L2 norm of each tensor, ``(num_tensors,)``, in at least float32."""
    if not tensors:
        return torch.zeros(0)
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return torch.stack(l2_norms(tensors, dtype))
