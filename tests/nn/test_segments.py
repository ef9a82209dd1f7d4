"""Reductions within sequences against numpy."""

import numpy as np
import torch

from bert_ft.nn.segments import per_token, segment_max, segment_sum

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
