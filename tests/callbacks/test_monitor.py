"""What monitors have in common."""

import numpy as np
import pytest
import torch

from bert_ft.callbacks.monitor import _on_host
from bert_ft.callbacks.weights import WeightMonitor
from bert_ft.errors import ConfigError
from bert_ft.nn.precision import widest


def test_tensors_of_several_types_in_one_transfer():
    tensors = [
        torch.arange(6, dtype=torch.float64).view(2, 3) / 7,
        torch.tensor([1.5, float("nan")]),
        torch.zeros(0),
        torch.arange(3, dtype=torch.float32)[::2],
    ]
    for found, expected in zip(_on_host(tensors), tensors, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


@pytest.mark.parametrize(("every", "histograms"), [(25, 10), (2, 3)])
def test_histograms_at_other_steps_than_are_looked_at(every, histograms):
    with pytest.raises(ConfigError, match=f"histogram_every_n_steps={histograms} must be a multiple"):
        WeightMonitor(every_n_steps=every, histogram_every_n_steps=histograms)


def test_apples_gpus_have_no_float64():
    assert widest(torch.device("mps")) is torch.float32
    assert widest(torch.device("cuda")) is widest(torch.device("cpu")) is torch.float64
