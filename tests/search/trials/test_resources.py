import os

import torch

from bert_ft.search.trials.resources import Slot, divide, visible_gpus


def test_threads_are_divided():
    assert divide(2, 8, []) == [Slot(0, 4), Slot(1, 4)]
    assert [slot.threads for slot in divide(3, 2, [])] == [1, 1, 1]


def test_gpus_are_divided():
    assert [slot.gpus for slot in divide(2, 8, ["0", "1", "2", "3"])] == ["0,1", "2,3"]
    assert [slot.gpus for slot in divide(3, 8, ["4", "GPU-b"])] == ["4", "GPU-b", "4"]
    assert [slot.gpus for slot in divide(1, 8, ["0"])] == ["0"]


def test_visible_gpus_are_those_that_are_left_to_us(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-a")
    assert visible_gpus() == ["2", "GPU-a"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert visible_gpus() == []


def test_a_slot_limits_its_process(monkeypatch):
    limits = {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "7"}  # the user's own number of threads counts
    monkeypatch.setattr(os, "environ", limits)
    before = torch.get_num_threads()
    try:
        Slot(0, 2, "1").take()
        assert torch.get_num_threads() == 3
        assert limits["MKL_NUM_THREADS"] == limits["OPENBLAS_NUM_THREADS"] == "2"
        assert limits["CUDA_VISIBLE_DEVICES"] == "1"
    finally:
        torch.set_num_threads(before)
