"""What monitors share."""

import numpy as np
import pytest
import torch

from bert_ft.callbacks.monitor import _on_host
from bert_ft.callbacks.weights import WeightMonitor
from bert_ft.errors import ConfigError
from bert_ft.nn.precision import widest
from bert_ft.training.monitor_files import drop_later


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


def test_histograms_at_other_steps_than_are_looked_at():
    with pytest.raises(
        ConfigError, match="histogram_every_n_steps=10 must be a multiple of every_n_steps=25"
    ):
        WeightMonitor(every_n_steps=25, histogram_every_n_steps=10)


def test_apples_gpus_have_no_float64():
    assert widest(torch.device("mps")) is torch.float32
    assert widest(torch.device("cuda")) is widest(torch.device("cpu")) is torch.float64


def test_files_of_later_steps_are_removed(tmp_path):
    others = ["validation_10.npz.tmp", "top_losses_12.json", "validation_x.npz"]
    kept = {"validation_5.npz", "validation_9.npz", *others}
    for name in [*kept, "validation_10.npz", "validation_100.npz"]:
        (tmp_path / name).touch()
    drop_later(tmp_path, "validation", 9)
    assert {path.name for path in tmp_path.iterdir()} == kept
    drop_later(tmp_path / "none", "validation", 9)
