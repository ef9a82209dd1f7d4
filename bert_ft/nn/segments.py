"""Sums and maxima within each sequence of a packed batch.

``torch.segment_reduce`` adds in the order of the tokens. ``index_add`` and ``scatter_reduce`` would
do the same with atomics on CUDA, in another order at each run.
"""

import torch
from torch import Tensor


def segment_sum(values: Tensor, cu_seqlens: Tensor) -> Tensor:
    """``(num_tokens, ...)`` summed to ``(num_sequences, ...)``; 0 for a sequence without tokens."""
    return torch.segment_reduce(values, "sum", axis=0, offsets=cu_seqlens)


def segment_max(values: Tensor, cu_seqlens: Tensor) -> Tensor:
    """``(num_tokens, ...)`` maximised to ``(num_sequences, ...)``; -inf for a sequence without tokens.

    Equal maxima share the gradient.
    """
    return torch.segment_reduce(values, "max", axis=0, offsets=cu_seqlens)


def per_token(values: Tensor, cu_seqlens: Tensor, num_tokens: int) -> Tensor:
    """``(num_sequences, ...)`` repeated to ``(num_tokens, ...)``, each token getting its sequence's value."""
    # with output_size the device isn't asked how long the result is
    return values.repeat_interleave(cu_seqlens.diff(), dim=0, output_size=num_tokens)
