"""Attention with dropout over packed tokens, for a CPU: few operations, little padding.

Sequences of similar length share a bucket, padded to its longest; heads are gathered into the buckets in one copy, and
what depends only on the lengths is computed once, not in each layer. A batch of 32 short texts has about 20 different
lengths, but needs only a few buckets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bert_ft.kernels.dropout import keep_mask, require_correct
from bert_ft.kernels.self_check import compare, passes

# What an additional bucket costs, in elements of the score matrix: about ten operations of some 5 µs each, against 2 to
# 3 ns an element for softmax, mask and products
BUCKET_COST = 16_384
# Elements of a bucket's score matrix, 2 MB: it stays in the processor's cache from one operation to the next
MAX_BUCKET = 1 << 19


@dataclass(frozen=True)
class Bucket:
    """Sequences ``first : last``, all padded to ``length``."""

    first: int
    last: int
    length: int


@dataclass(frozen=True)
class BucketLayout:
    """Where each (token, head) of a packed batch lies in the buckets.

    Attributes:
        shapes: ``(rows, length)`` of each bucket, ``rows`` being its sequences times the heads.
        gather: ``(num_slots,)`` int64, the (token, head) row of each slot in the buckets; for padding, any row of the
            same sequence.
        slots: ``(num_tokens * num_heads,)`` int64, the slot of each (token, head) row.
        bias: for each bucket ``(rows, 1, length)``, 0 for a token and -inf for padding; ``None`` without padding.
    """

    shapes: tuple[tuple[int, int], ...]
    gather: Tensor
    slots: Tensor
    bias: tuple[Tensor | None, ...]

    @classmethod
    def of(cls, lengths: Sequence[int], num_heads: int) -> BucketLayout:
        """Return the layout of sequences of ascending ``lengths``, each at least 1."""
        shapes, gathers, slots, biases = [], [], [], []
        token, slot = 0, 0
        heads = torch.arange(num_heads)
        for bucket in make_buckets(lengths, num_heads):
            own = torch.tensor(lengths[bucket.first : bucket.last])
            positions = torch.arange(bucket.length)
            real = positions < own[:, None]  # (sequences, length)
            starts = token + own.cumsum(0) - own
            tokens = starts[:, None] + torch.where(real, positions, 0)
            rows = tokens[:, None, :] * num_heads + heads[:, None]  # (sequences, heads, length)
            place = slot + torch.arange(rows.numel()).view(rows.shape)
            gathers.append(rows.flatten())
            # in the order of tokens, then heads, like the packed rows
            slots.append(place.transpose(1, 2)[real].flatten())
            shapes.append((rows.shape[0] * num_heads, bucket.length))
            biases.append(_padding_bias(real, num_heads))
            token += int(own.sum())
            slot += rows.numel()
        return cls(tuple(shapes), torch.cat(gathers), torch.cat(slots), tuple(biases))


def make_buckets(lengths: Sequence[int], num_heads: int) -> list[Bucket]:
    """Join neighbors as long as their padding costs less than another bucket (see ``BUCKET_COST``)."""
    buckets, first = [], 0
    for last, (before, longest) in enumerate(pairwise(lengths), start=1):
        padding = num_heads * (last - first) * (longest**2 - before**2)
        if padding > BUCKET_COST or num_heads * (last - first + 1) * longest**2 > MAX_BUCKET:
            buckets.append(Bucket(first, last, before))
            first = last
    return [*buckets, Bucket(first, len(lengths), lengths[-1])]


def _padding_bias(real: Tensor, num_heads: int) -> Tensor | None:
    if real.all():
        return None
    bias = torch.zeros(real.shape).masked_fill_(~real, float("-inf"))
    return bias.repeat_interleave(num_heads, dim=0)[:, None, :]


class _PackedAttention(torch.autograd.Function):
    """``dropout(softmax(q kᵀ · scaling)) v``, with its own backward pass, so that nothing is kept twice."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: BucketLayout,
        dropout: float,
        scaling: float,
    ) -> Tensor:
        # all (num_tokens * num_heads, head_dim)
        queries, keys, values = (rows.index_select(0, layout.gather) for rows in (query, key, value))
        outputs = torch.empty_like(queries)
        sizes = [rows * length * length for rows, length in layout.shapes]
        weights = query.new_empty(sum(sizes))
        mask, scale = keep_mask((sum(sizes),), dropout)
        for index, (scores, kept, q, k, v, output) in enumerate(
            _views(layout, weights, mask, queries, keys, values, outputs)
        ):
            torch.bmm(q, k.transpose(1, 2), out=scores)
            scores.mul_(scaling)
            bias = layout.bias[index]
            if bias is not None:
                scores.add_(bias)
            torch.softmax(scores, dim=-1, out=scores)
            torch.bmm(scores * kept.to(scores.dtype), v, out=output)
        ctx.save_for_backward(queries, keys, values, weights, mask)
        ctx.layout, ctx.scaling, ctx.scale = layout, scaling, scale
        return outputs.index_select(0, layout.slots).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, weights, mask = ctx.saved_tensors
        layout: BucketLayout = ctx.layout
        d_outputs = torch.zeros_like(queries)
        d_outputs.index_copy_(0, layout.slots, gradients[0] * ctx.scale)
        d_queries, d_keys, d_values = (torch.empty_like(queries) for _ in range(3))
        for probabilities, kept, q, k, v, d_output, d_q, d_k, d_v in _views(
            layout, weights, mask, queries, keys, values, d_outputs, d_queries, d_keys, d_values
        ):
            factor = kept.to(probabilities.dtype)
            torch.bmm((probabilities * factor).transpose(1, 2), d_output, out=d_v)
            d_probabilities = torch.bmm(d_output, v.transpose(1, 2)).mul_(factor)
            d_scores = torch._softmax_backward_data(d_probabilities, probabilities, -1, probabilities.dtype)
            d_scores.mul_(ctx.scaling)
            torch.bmm(d_scores, k, out=d_q)
            torch.bmm(d_scores.transpose(1, 2), q, out=d_k)
        # padding slots are left out: their weights were 0
        d_query, d_key, d_value = (
            rows.index_select(0, layout.slots) for rows in (d_queries, d_keys, d_values)
        )
        return d_query, d_key, d_value, None, None, None


def _views(
    layout: BucketLayout, weights: Tensor, mask: Tensor, *states: Tensor
) -> Iterator[tuple[Tensor, ...]]:
    """Yield for each bucket scores and mask, ``(rows, length, length)``, and states, ``(rows, length, head_dim)``."""
    score, slot = 0, 0
    for rows, length in layout.shapes:
        next_score, next_slot = score + rows * length * length, slot + rows * length
        yield (
            weights[score:next_score].view(rows, length, length),
            mask[score:next_score].view(rows, length, length),
            *(state[slot:next_slot].view(rows, length, -1) for state in states),
        )
        score, slot = next_score, next_slot


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: BucketLayout, *, dropout: float, scaling: float
) -> Tensor:
    """Return the attention within each sequence; inputs and output are ``(num_tokens, num_heads, head_dim)``."""
    shape = query.shape
    rows = (states.reshape(-1, shape[-1]) for states in (query, key, value))
    return _PackedAttention.apply(*rows, layout, dropout, scaling).view(shape)


def is_correct() -> bool:
    """Return whether the kernel passes its check; a failure is logged once per process."""
    return passes("packed attention", check)


def check() -> None:
    """Raise ``DeviationError`` unless the kernel agrees with torch's attention on one sequence at a time."""
    require_correct()
    lengths, num_heads, head_dim, scaling = [1, 3], 2, 8, 0.3
    layout = BucketLayout.of(lengths, num_heads)

    def plain(*states: Tensor) -> Tensor:
        parts = zip(*(state.transpose(0, 1).split(lengths, dim=1) for state in states), strict=True)
        outputs = [F.scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in parts]
        return torch.cat(outputs, dim=1).transpose(0, 1)

    def ours(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return packed_attention(query, key, value, layout, dropout=0.0, scaling=scaling)

    compare(ours, plain, *torch.randn(3, sum(lengths), num_heads, head_dim))
