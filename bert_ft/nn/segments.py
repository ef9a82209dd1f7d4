"""Sums, maxima and softmax within each sequence of a packed batch.

``torch.segment_reduce`` adds in the order of the tokens. ``index_add`` and ``scatter_reduce`` would use atomics on
CUDA, in a different order on each run.
"""

from typing import Any

import torch
from torch import Tensor

from bert_ft.nn.precision import at_least_float32


class _SegmentSum(torch.autograd.Function):
    """A segment sum; torch's own backward pass takes 20 times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, cu_seqlens: Tensor) -> Tensor:
        ctx.save_for_backward(cu_seqlens)
        ctx.num_tokens = values.shape[0]
        return torch.segment_reduce(values, "sum", axis=0, offsets=cu_seqlens)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (cu_seqlens,) = ctx.saved_tensors
        return per_token(gradients[0], cu_seqlens, ctx.num_tokens), None


class _SegmentMax(torch.autograd.Function):
    """A segment maximum; torch's own (2.13, 2.14) gives each of several equal maxima the full negative gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, cu_seqlens: Tensor) -> Tensor:
        highest = torch.segment_reduce(values, "max", axis=0, offsets=cu_seqlens)
        ctx.save_for_backward(values, highest, cu_seqlens)
        return highest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        values, highest, cu_seqlens = ctx.saved_tensors
        num_tokens = values.shape[0]
        # not `==`: if the maximum is NaN, no value would equal it, and the shares would be divided by 0
        is_highest = ~(values < per_token(highest, cu_seqlens, num_tokens))
        counts = segment_sum(at_least_float32(is_highest.to(values.dtype)), cu_seqlens)
        # 0 / 0 for an empty sequence, which no token reads
        shares = per_token(at_least_float32(gradients[0]) / counts, cu_seqlens, num_tokens)
        return torch.where(is_highest, shares, 0).to(values.dtype), None


class _PerToken(torch.autograd.Function):
    """A repetition per token; torch's own backward pass adds with atomics on CUDA."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, cu_seqlens: Tensor, num_tokens: int) -> Tensor:
        ctx.save_for_backward(cu_seqlens)
        # output_size avoids a device sync for the length of the result
        return values.repeat_interleave(cu_seqlens.diff(), dim=0, output_size=num_tokens)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (cu_seqlens,) = ctx.saved_tensors
        return segment_sum(gradients[0].contiguous(), cu_seqlens), None, None


def segment_sum(values: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Sum ``(num_tokens, ...)`` to ``(num_sequences, ...)``; 0 for an empty sequence."""
    return _SegmentSum.apply(values, cu_seqlens)


def segment_max(values: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Take the maximum of ``(num_tokens, ...)`` to ``(num_sequences, ...)``; -inf for an empty sequence.

    Equal maxima share the gradient, as in ``torch.amax``.
    """
    return _SegmentMax.apply(values, cu_seqlens)


def per_token(values: Tensor, cu_seqlens: Tensor, num_tokens: int) -> Tensor:
    """Repeat ``(num_sequences, ...)`` to ``(num_tokens, ...)``: each token gets its sequence's value."""
    return _PerToken.apply(values, cu_seqlens, num_tokens)


def segment_softmax(scores: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Return the softmax of ``(num_tokens, ...)`` over the tokens of each sequence."""
    num_tokens = scores.shape[0]
    highest = per_token(segment_max(scores.detach(), cu_seqlens), cu_seqlens, num_tokens)
    weights = (scores - highest).exp()
    return weights / per_token(segment_sum(weights, cu_seqlens), cu_seqlens, num_tokens)
