"""Where attention goes, as statistics of each query token."""

import math

import torch
from torch import Tensor


def attention_statistics(attention: Tensor) -> dict[str, Tensor]:
    """Return statistics of one text's attention, ``(layers, heads, length)`` each, by query token.

    ``attention`` is ``(layers, heads, length, length)``, queries by keys.

    Returns:
        ``entropy``: as a share of the maximum (uniform attention); 0 for a text of one token.
        ``distance``: mean distance of the attended tokens, in tokens.
        ``on_first``, ``on_last``, ``on_self``: share of the first token, the last, and the query token itself.
    """
    length = attention.shape[-1]
    positions = torch.arange(length, device=attention.device)
    distances = (positions[:, None] - positions).abs().to(attention.dtype)  # (length, length)
    return {
        "entropy": torch.special.entr(attention).sum(-1) / max(math.log(length), 1e-9),
        "distance": (attention * distances).sum(-1),
        "on_first": attention[..., 0],
        "on_last": attention[..., -1],
        "on_self": attention.diagonal(dim1=-2, dim2=-1),
    }
