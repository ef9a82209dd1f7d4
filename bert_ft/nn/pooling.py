"""Packed hidden states -> one vector per sequence.

Each module maps ``hidden (num_tokens, hidden_size)`` and ``cu_seqlens (num_sequences + 1,)`` int32, the cumulative
lengths, to ``(num_sequences, hidden_size)`` in the dtype of ``hidden``. Sums are taken in float32. A sequence without
tokens gives zeros.
"""

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_ft.limits import one_of, require
from bert_ft.nn.precision import at_least_float32, autocast_off
from bert_ft.nn.segments import per_token, segment_max, segment_sum


class ClsPooling(nn.Module):
    """The first token of each sequence."""

    def forward(self, hidden: Tensor, cu_seqlens: Tensor) -> Tensor:
        starts, ends = cu_seqlens[:-1], cu_seqlens[1:]
        num_tokens = hidden.shape[0]
        first = torch.where(
            starts < ends, starts, num_tokens
        )  # the padded row of zeros for an empty sequence
        return F.pad(hidden, (0, 0, 0, 1))[first]


class MeanPooling(nn.Module):
    """The mean over the tokens of each sequence."""

    def forward(self, hidden: Tensor, cu_seqlens: Tensor) -> Tensor:
        lengths = cu_seqlens.diff().clamp(min=1)[:, None]
        return (segment_sum(at_least_float32(hidden), cu_seqlens) / lengths).to(hidden.dtype)


class MaxPooling(nn.Module):
    """The maximum of each feature over the tokens of each sequence."""

    def forward(self, hidden: Tensor, cu_seqlens: Tensor) -> Tensor:
        empty = cu_seqlens.diff() == 0
        return segment_max(hidden, cu_seqlens).masked_fill(empty[:, None], 0)


class AttentionPooling(nn.Module):
    """The mean over tokens, weighted by the softmax within each sequence of ``hidden @ query``.

    The one learned query starts at zero, so the module starts as ``MeanPooling``.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        # no bias: a constant added to every score doesn't change the softmax
        self.query = nn.Linear(hidden_size, 1, bias=False)
        nn.init.zeros_(self.query.weight)

    def forward(self, hidden: Tensor, cu_seqlens: Tensor) -> Tensor:
        values = at_least_float32(hidden)
        with autocast_off(hidden):
            scores = F.linear(values, self.query.weight.to(values.dtype))  # (num_tokens, 1)
        highest = per_token(segment_max(scores.detach(), cu_seqlens), cu_seqlens, hidden.shape[0])
        weights = (scores - highest).exp()
        # 1 for an empty sequence. Not by a clamp: a single token's total is exactly 1, and the derivative at a clamp's
        # bound differs between versions of torch.
        is_empty = (cu_seqlens.diff() == 0)[:, None]
        total = segment_sum(weights, cu_seqlens) + is_empty.to(weights.dtype)  # (num_sequences, 1)
        return (segment_sum(weights * values, cu_seqlens) / total).to(hidden.dtype)


WITHOUT_WEIGHTS: dict[str, Callable[[], nn.Module]] = {
    "cls": ClsPooling,
    "mean": MeanPooling,
    "max": MaxPooling,
}
POOLINGS: dict[str, Callable[..., nn.Module]] = {**WITHOUT_WEIGHTS, "attention": AttentionPooling}
PoolingName = Annotated[str, one_of(POOLINGS)]
WindowPoolingName = Annotated[
    str, one_of(("mean", "max", "attention"))
]  # the first window is no better than others


def build_pooling(name: str, hidden_size: int) -> nn.Module:
    """Return the pooling called ``name``.

    Raises:
        ConfigError: the name is unknown.
    """
    require(PoolingName, "model.pooling", name)
    return WITHOUT_WEIGHTS[name]() if name in WITHOUT_WEIGHTS else POOLINGS[name](hidden_size)


def build_window_pooling(name: str, hidden_size: int) -> nn.Module:
    """Return the pooling called ``name`` over the windows of each text, one vector each.

    Raises:
        ConfigError: the name is unknown.
    """
    require(WindowPoolingName, "model.window_pooling", name)
    return build_pooling(name, hidden_size)


def mean_of_layers(hidden_states: Sequence[Tensor]) -> Tensor:
    """Return the mean of several layers' hidden states, summed in float32."""
    if len(hidden_states) == 1:
        return hidden_states[0]
    layers = torch.stack([at_least_float32(hidden) for hidden in hidden_states])
    return layers.mean(0).to(hidden_states[0].dtype)
