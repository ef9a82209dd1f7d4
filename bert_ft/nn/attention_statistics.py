"""What attention weights look at, as a number for each token that looks."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attention_statistics(attention: Tensor) -> dict[str, Tensor]:
    """Statistics of one text's attention, ``(layers, heads, length)`` each, over the tokens that look.

    Args:
        attention: ``(layers, heads, length, length)``, from the third axis to the last; rows sum to 1.

    Returns:
        ``entropy``: as a share of the highest, that of looking at all tokens alike; 0 for a text of one token.
        ``distance``: mean distance of what is looked at, in tokens.
        ``on_first``, ``on_last``, ``on_self``: the share that goes to the first token, the last, and the token itself.
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
