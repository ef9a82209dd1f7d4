"""Attention of one token of each sequence to the whole sequence, on packed tokens, without padding."""

from __future__ import annotations

from torch import Tensor

from bert_ft.kernels.dropout import dropout as drop
from bert_ft.nn.precision import at_least_float32
from bert_ft.nn.segments import per_token, segment_softmax, segment_sum


def first_token_attention(
    query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, *, dropout: float, scaling: float
) -> Tensor:
    """``softmax(q kᵀ · scaling) v`` within each sequence, ``(num_sequences, heads, head_dim)``.

    Args:
        query: ``(num_sequences, heads, head_dim)``.
        key: ``(num_tokens, heads, head_dim)``.
        value: as ``key``.
        cu_seqlens: ``(num_sequences + 1,)`` int32, the cumulated lengths, none of them 0.
        dropout: of the weights; 0 outside of training.
        scaling: of the products.
    """
    queries = per_token(at_least_float32(query), cu_seqlens, key.shape[0])
    scores = (queries * key).sum(-1) * scaling  # (num_tokens, heads)
    weights = drop(segment_softmax(scores, cu_seqlens), dropout)
    return segment_sum(weights[..., None] * value, cu_seqlens).to(value.dtype)
