"""Dropout with cheap masks on a CPU.

torch draws a random number for each element of a mask, which takes longer than any part of a BERT layer except the
matrix products (measured: 10 ns per element, here 1). Here an element takes 16 random bits, drawn four
elements at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_ft.kernels.self_check import DeviationError, passes, require_close

LEVELS = 1 << 16  # values of the 16 bits that decide on an element


def keep_mask(shape: torch.Size | tuple[int, ...], probability: float) -> tuple[Tensor, float]:
    """Return a random uint8 mask, 1 = kept, and the factor that scales kept elements up.

    The rate of dropped elements is ``probability`` rounded to 1/65536 (for 0.1: 0.100006), and the factor is the inverse
    of the exact rate of kept ones, so expectations are exact. The state of torch's generator determines the mask.
    """
    num_elements = int(np.prod(shape))
    dropped = round(probability * LEVELS)
    seed = int(torch.randint(2**63 - 1, ()))
    bits = np.random.SFC64(seed).random_raw(-(-num_elements // 4)).view(np.uint16)[:num_elements]
    mask = torch.from_numpy((bits >= dropped).view(np.uint8)).view(shape)
    return mask, LEVELS / (LEVELS - dropped) if dropped < LEVELS else 0.0


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, probability: float) -> Tensor:
        mask, ctx.scale = keep_mask(values.shape, probability)
        ctx.save_for_backward(mask)
        return _scaled(values, mask, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return _scaled(gradients[0], mask, ctx.scale), None


def _scaled(values: Tensor, mask: Tensor, scale: float) -> Tensor:
    # to the values' dtype first: a product of mixed dtypes is several times slower
    return (values * mask.to(values.dtype)).mul_(scale)


def dropout(values: Tensor, probability: float, training: bool = True) -> Tensor:
    """Apply ``torch.nn.functional.dropout``, with cheap masks on a CPU."""
    if not training or probability == 0:
        return values
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(values, probability)
    return _Drop.apply(values, probability)


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` with cheap masks on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training)


def replace_dropout(module: nn.Module) -> None:
    """Turn every ``torch.nn.Dropout`` below ``module`` into ours, in place, at the same rate, if ours is correct."""
    if not is_correct():
        return
    for child in module.modules():
        if type(child) is nn.Dropout:
            child.__class__ = Dropout


def is_correct() -> bool:
    """Return whether the masks pass their check; a failure is logged once per process."""
    return passes("dropout", check)


def require_correct() -> None:
    """Raise ``DeviationError`` unless the masks pass their check. Self-checks of kernels that use masks call this."""
    if not is_correct():
        raise DeviationError("its dropout failed")


def check() -> None:
    """Raise ``DeviationError`` unless the rate, and the values and gradients of kept elements, match dropout's."""
    rate, num_elements = 0.25, 1 << 12
    values = torch.linspace(1, 2, num_elements, requires_grad=True)
    dropped = dropout(values, rate)
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    kept = (dropped.detach() != 0).float()
    require_close("output", dropped.detach(), values.detach() * kept / (1 - rate))
    require_close("gradient", gradient, kept / (1 - rate))
    share = 1 - kept.mean().item()
    # five standard deviations of a binomial share
    if abs(share - rate) > 5 * (rate * (1 - rate) / num_elements) ** 0.5:
        raise DeviationError(f"a share of {share:.3f} is dropped instead of {rate}")
