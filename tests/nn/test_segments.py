"""Reductions within sequences against numpy, and their gradients."""

import numpy as np
import pytest
import torch

from bert_ft.nn.segments import per_token, segment_max, segment_softmax, segment_sum

LENGTHS = (2, 0, 1, 3)
CU_SEQLENS = torch.tensor([0, 2, 2, 3, 6], dtype=torch.int32)


def test_sum_and_max():
    values = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = np.split(values.numpy(), [2, 2, 3])
    np.testing.assert_allclose(segment_sum(values, CU_SEQLENS), [part.sum(0) for part in parts])
    expected = [part.max(0, initial=-np.inf) for part in parts]
    np.testing.assert_array_equal(segment_max(values, CU_SEQLENS), expected)


def test_per_token():
    values = torch.tensor([10, 20, 30, 40])
    assert per_token(values, CU_SEQLENS, 6).tolist() == [10, 10, 30, 40, 40, 40]


def random_values(num_rows: int):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_rows, 3, generator=generator, dtype=torch.float64, requires_grad=True)


def test_softmax():
    values = random_values(6)
    parts = np.split(values.detach().numpy(), [2, 2, 3])
    expected = np.concatenate([np.exp(part) / np.exp(part).sum(0) for part in parts])
    weights = segment_softmax(values, CU_SEQLENS)
    np.testing.assert_allclose(weights.detach(), expected)
    # neither shifted nor too large
    torch.testing.assert_close(segment_softmax(values + 1e4, CU_SEQLENS), weights)


WITH_EMPTY = torch.tensor([0, 0, 2, 2, 3, 6, 6], dtype=torch.int32)


@pytest.mark.parametrize("cu_seqlens", [CU_SEQLENS, WITH_EMPTY, torch.tensor([0, 6])], ids=str)
@pytest.mark.parametrize(
    ("function", "num_rows"),
    [
        (segment_sum, 6),
        (segment_max, 6),
        (segment_softmax, 6),
        (lambda values, cu_seqlens: per_token(values, cu_seqlens, 6), None),
    ],
    ids=["sum", "max", "softmax", "per_token"],
)
def test_gradients(function, num_rows, cu_seqlens):
    values = random_values(num_rows or len(cu_seqlens) - 1)

    def finite(values):
        output = function(values, cu_seqlens)
        return output[output.isfinite()]  # the maximum of nothing is -inf

    assert torch.autograd.gradcheck(finite, values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_equal_maxima_share_the_gradient(sign, dtype):
    """torch gives each of them the whole, if it is negative."""
    values = torch.tensor([[2, 2], [2, 1], [2, 0], [1, 3], [1, 5]], dtype=dtype, requires_grad=True)
    highest = segment_max(values, torch.tensor([0, 3, 3, 5], dtype=torch.int32))
    gradient = sign * torch.tensor([[3, 6], [12, 24], [2, 8]], dtype=dtype)
    (found,) = torch.autograd.grad(highest, values, gradient)
    assert found.dtype == dtype
    assert (sign * found).tolist() == [[1, 6], [1, 0], [1, 0], [1, 0], [1, 8]]


def test_many_equal_maxima_in_16_bits():
    """Counted in float32: bfloat16 can't hold 257."""
    values = torch.ones(257, 1, dtype=torch.bfloat16, requires_grad=True)
    segment_max(values, torch.tensor([0, 257], dtype=torch.int32)).backward(
        torch.full((1, 1), 257.0).bfloat16()
    )
    assert values.grad.flatten().tolist() == [pytest.approx(1, abs=1e-2)] * 257


def test_gradient_of_a_maximum_that_is_nan():
    """Handed on, not made NaN in the other sequences."""
    values = torch.tensor([[1.0], [torch.nan], [2.0]], requires_grad=True)
    segment_max(values, torch.tensor([0, 2, 3], dtype=torch.int32)).sum().backward()
    assert values.grad.flatten().tolist() == [0.5, 0.5, 1.0]


def test_gradients_of_a_plain_sum():
    """What it hands back is one number for all, in a tensor without memory of its own."""
    values = random_values(6)
    segment_sum(values, CU_SEQLENS).sum().backward()
    assert torch.equal(values.grad, torch.ones(6, 3, dtype=torch.float64))
    rows = random_values(4)
    per_token(rows, CU_SEQLENS, 6).sum().backward()
    assert rows.grad[:, 0].tolist() == list(LENGTHS)


@pytest.mark.parametrize("lengths", [(0,), (0, 0), ()])
def test_no_tokens(lengths):
    cu_seqlens = torch.zeros(len(lengths) + 1, dtype=torch.int32)
    values = random_values(0)
    assert torch.equal(segment_sum(values, cu_seqlens), values.new_zeros(len(lengths), 3))
    assert segment_softmax(values, cu_seqlens).shape == (0, 3)
    assert per_token(random_values(len(lengths)), cu_seqlens, 0).shape == (0, 3)
