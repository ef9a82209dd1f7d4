"""Pooling of padded batches against that of packed ones."""

import numpy as np
import pytest
import torch
from torch import nn

from bert_ft.nn.padded_pooling import pool_padded
from bert_ft.nn.pooling import POOLINGS, build_pooling

HIDDEN_SIZE = 5


def padded_and_packed(lengths, extra=0, dtype=torch.float64):
    """The same tokens twice, ``(hidden, mask)`` and ``(hidden, cu_seqlens)``; the padding holds large numbers."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(len(lengths), max(lengths) + extra, HIDDEN_SIZE, generator=generator).to(dtype)
    mask = (torch.arange(hidden.shape[1]) < torch.tensor(lengths)[:, None]).long()
    hidden[mask == 0] = 1e3
    cu_seqlens = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
    return (hidden, mask), (hidden[mask == 1], cu_seqlens)


def new_pooling(name, dtype=torch.float64):
    pooling = build_pooling(name, HIDDEN_SIZE).to(dtype)
    if name == "attention":
        nn.init.normal_(pooling.query.weight, generator=torch.Generator().manual_seed(1))
    return pooling


@pytest.mark.parametrize("lengths", [(1, 3, 3, 6), (0, 2, 0, 3), (1,)])
@pytest.mark.parametrize("name", POOLINGS)
def test_equals_packed(name, lengths):
    pooling = new_pooling(name)
    padded, packed = padded_and_packed(lengths, extra=3)
    torch.testing.assert_close(pool_padded(pooling, *padded), pooling(*packed))


@pytest.mark.parametrize("lengths", [(1, 3, 3, 6), (0, 2, 0, 3), (0, 1)])
@pytest.mark.parametrize("name", POOLINGS)
def test_gradients_equal_packed(name, lengths):
    """Rounded, so that many values of a sequence are equal; of single tokens and of none as well."""
    pooling = new_pooling(name)
    (hidden, mask), (tokens, cu_seqlens) = padded_and_packed(lengths)
    hidden, tokens = hidden.round().requires_grad_(), tokens.round().requires_grad_()
    weights = torch.randn(len(lengths), HIDDEN_SIZE, dtype=torch.float64)
    with torch.autograd.set_detect_anomaly(True):
        (padded,) = torch.autograd.grad(pool_padded(pooling, hidden, mask), hidden, weights)
        (packed,) = torch.autograd.grad(pooling(tokens, cu_seqlens), tokens, weights)
    torch.testing.assert_close(padded[mask == 1], packed)
    assert not padded[mask == 0].any()


@pytest.mark.parametrize("name", POOLINGS)
def test_sums_in_float32_and_answers_in_the_dtype_it_got(name):
    pooling = new_pooling(name, torch.bfloat16)
    padded, packed = padded_and_packed((700, 3), dtype=torch.bfloat16)
    pooled = pool_padded(pooling, *padded)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled, pooling(*packed))


def test_an_unknown_pooling():
    with pytest.raises(TypeError, match="Identity has no form for padded batches"):
        pool_padded(nn.Identity(), torch.ones(1, 1, HIDDEN_SIZE), torch.ones(1, 1))
