"""BERT's layer for the first token of each sequence only, on packed tokens, without padding.

The last layer needs keys and values of every token, but queries, output projection and feed-forward block, 10/12 of its
products, only of the tokens that are read.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from bert_ft.kernels.dropout import dropout as drop
from bert_ft.kernels.dropout import require_correct
from bert_ft.kernels.self_check import compare, passes
from bert_ft.nn.precision import at_least_float32
from bert_ft.nn.segments import per_token, segment_softmax, segment_sum


def first_token_attention(
    query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, *, dropout: float, scaling: float
) -> Tensor:
    """Return ``softmax(q kᵀ · scaling) v`` within each sequence, ``(num_sequences, heads, head_dim)``, like ``query``.

    ``key`` and ``value`` are ``(num_tokens, heads, head_dim)``; ``cu_seqlens`` has the cumulative lengths,
    ``(num_sequences + 1,)`` int32, none of them 0. ``dropout`` is the rate on the weights, 0 outside of training.
    """
    queries = per_token(at_least_float32(query), cu_seqlens, key.shape[0])
    scores = (queries * key).sum(-1) * scaling  # (num_tokens, heads)
    weights = drop(segment_softmax(scores, cu_seqlens), dropout)
    return segment_sum(weights[..., None] * value, cu_seqlens).to(value.dtype)


class FirstTokens(nn.Module):
    """Mixin for a family's attention block: with ``cu_first`` its layer returns ``(1, num_sequences, hidden_size)``."""

    def forward(
        self, hidden_states: Tensor, *args: Any, cu_first: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        if cu_first is None:
            return super().forward(hidden_states, *args, **kwargs)
        attention: Any = self.self
        heads = (-1, attention.num_attention_heads, attention.attention_head_size)
        first = hidden_states[:, cu_first[:-1]]  # (1, num_sequences, hidden_size)
        context = first_token_attention(
            attention.query(first).view(heads),
            attention.key(hidden_states).view(heads),
            attention.value(hidden_states).view(heads),
            cu_first,
            dropout=attention.dropout.p if self.training else 0.0,
            scaling=attention.scaling,
        )
        return cast(nn.Module, self.output)(context.reshape(first.shape[0], first.shape[1], -1), first), None


def with_first_tokens(attention: type[nn.Module]) -> type[nn.Module]:
    """Return the subclass of a family's attention block that can compute first tokens only."""
    return type(f"FirstTokens{attention.__name__}", (FirstTokens, attention), {})


def is_correct(attention: type, config: type) -> bool:
    """Return whether ``with_first_tokens(attention)`` passes its check; a failure is logged once per process."""
    return passes("layer for first tokens", check, attention, config, instead="transformers' own")


def check(attention: type[nn.Module], config: type) -> None:
    """Raise ``DeviationError`` unless a tiny attention block agrees with transformers' own on one sequence at a time."""
    require_correct()
    settings = config(hidden_size=8, num_attention_heads=2, attn_implementation="eager")
    block = with_first_tokens(attention)(settings).eval()
    lengths = [1, 3]
    cu_first = torch.tensor([0, 1, 4], dtype=torch.int32)

    def plain(states: Tensor) -> Tensor:
        return torch.cat([block(part)[0][:, :1] for part in states.split(lengths, dim=1)], dim=1)

    compare(lambda states: block(states, cu_first=cu_first)[0], plain, torch.randn(1, sum(lengths), 8))
