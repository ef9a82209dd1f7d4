"""The poolings of ``bert_ft.nn.pooling`` on padded batches, for exported graphs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_ft.nn.pooling import AttentionPooling, ClsPooling, MaxPooling, MeanPooling
from bert_ft.nn.precision import at_least_float32

PADDED_POOLINGS = (ClsPooling, MeanPooling, MaxPooling, AttentionPooling)


def pool_padded(pooling: nn.Module, hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the result of ``pooling`` for the same tokens packed, ``(batch, hidden_size)``; zeros without tokens.

    Args:
        pooling: one of ``PADDED_POOLINGS``.
        hidden: ``(batch, length, hidden_size)``.
        attention_mask: ``(batch, length)``, 1 for tokens and 0 for the padding behind them.
    """
    is_token = attention_mask.bool()[:, :, None]  # (batch, length, 1)
    match pooling:
        case ClsPooling():
            return hidden[:, 0].masked_fill(~is_token[:, 0], 0)
        case MeanPooling():
            return _weighted_mean(hidden, is_token.to(torch.float32))
        case MaxPooling():
            highest = hidden.masked_fill(~is_token, -torch.inf).amax(1)
            return highest.masked_fill(~is_token.any(1), 0)
        case AttentionPooling():
            return _weighted_mean(hidden, _attention_weights(pooling.query, hidden, is_token))
    raise TypeError(f"{type(pooling).__name__} has no form for padded batches")


def _weighted_mean(hidden: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean; ``weights (batch, length, 1)`` are 0 on padding."""
    values = at_least_float32(hidden)
    total = weights.sum(1)
    return ((weights * values).sum(1) / total.masked_fill(total == 0, 1)).to(hidden.dtype)


def _attention_weights(query: nn.Linear, hidden: Tensor, is_token: Tensor) -> Tensor:
    values = at_least_float32(hidden)
    scores = F.linear(values, query.weight.to(values.dtype))  # (batch, length, 1)
    # not -inf: the softmax of a row of padding would be NaN
    return scores.masked_fill(~is_token, torch.finfo(scores.dtype).min).softmax(1) * is_token
