"""Attention of first tokens against softmax written out, one sequence at a time."""

import numpy as np
import pytest
import torch

from bert_ft.kernels.dropout import LEVELS
from bert_ft.kernels.first_token import first_token_attention

HEADS, HEAD_DIM = 3, 5
LENGTHS = [[1], [1, 1, 4], [2, 3, 3, 9, 30]]


def offsets(lengths):
    return torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)


def random_states(lengths, dtype=torch.float64):
    torch.manual_seed(0)
    shapes = [(len(lengths), HEADS, HEAD_DIM), *[(sum(lengths), HEADS, HEAD_DIM)] * 2]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def reference(query, key, value, lengths, scaling):
    rows = []
    for q, keys, values in zip(query, key.split(lengths), value.split(lengths), strict=True):
        scores = torch.einsum("hd,thd->ht", q, keys) * scaling
        weights = scores.exp() / scores.exp().sum(1, keepdim=True)
        rows.append(torch.einsum("ht,thd->hd", weights, values))
    return torch.stack(rows)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_values_and_gradients(lengths):
    states = random_states(lengths)
    output = first_token_attention(*states, offsets(lengths), dropout=0.0, scaling=0.7)
    expected = reference(*states, lengths, 0.7)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    gradient = torch.randn_like(output)
    ours = torch.autograd.grad(output, states, gradient)
    theirs = torch.autograd.grad(expected, states, gradient)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=0, atol=1e-12)


def test_numerical_gradients_with_dropout_on():
    """The seed keeps the mask the same."""
    lengths = [1, 3, 4]

    def attend(*states):
        torch.manual_seed(7)
        return first_token_attention(*states, offsets(lengths), dropout=0.4, scaling=0.7)

    assert torch.autograd.gradcheck(attend, random_states(lengths))


def test_large_scores():
    lengths = [2, 3]
    query, key, value = random_states(lengths)
    output = first_token_attention(query * 1e4, key, value, offsets(lengths), dropout=0.0, scaling=1.0)
    scores = torch.einsum("shd,shd->sh", query, key[[1, 2]] - key[[0, 3]])
    assert output.isfinite().all()
    assert scores.abs().min() > 1e-3  # no ties: of two tokens the better one takes all
    best = torch.where(scores[0, :, None] > 0, value[1], value[0])
    torch.testing.assert_close(output[0], best)


def test_bfloat16():
    lengths = [3, 9]
    states = [state.detach().bfloat16() for state in random_states(lengths)]
    output = first_token_attention(*states, offsets(lengths), dropout=0.0, scaling=0.4)
    expected = reference(*(state.double() for state in states), lengths, 0.4)
    assert output.dtype == torch.bfloat16
    # one rounding, of the result
    torch.testing.assert_close(output.double(), expected, rtol=2**-8, atol=2**-8)


def test_dropout_falls_on_weights_at_its_rate():
    """Equal scores, and values that show each weight in a feature of its own."""
    torch.manual_seed(0)
    count, length, heads, rate = 4096, 16, 16, 0.1
    query = torch.zeros(count, heads, length)
    key = torch.zeros(count * length, heads, length)
    value = torch.eye(length)[:, None].expand(length, heads, length).repeat(count, 1, 1)
    output = first_token_attention(
        query, key, value, offsets([length] * count), dropout=rate, scaling=1.0
    )  # each feature is a weight: 1/16, scaled up, or 0
    exact = round(rate * LEVELS) / LEVELS
    assert output.numel() > 1e6
    dropped = (output == 0).double().mean().item()
    # four standard deviations of a binomial share
    assert dropped == pytest.approx(exact, abs=4 * (exact * (1 - exact) / output.numel()) ** 0.5)
    torch.testing.assert_close(output.max(), torch.tensor(1 / length / (1 - exact)))
