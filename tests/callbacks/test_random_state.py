"""Random numbers of several processes, each of which continues its own."""

from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from bert_ft.callbacks.random_state import RandomState
from tests.several_processes import in_two


def in_a_process(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(rank)
    torch.rand(rank)
    state = RandomState().state_dict()
    expected = torch.rand(3)
    distributed.broadcast_object_list(given := [state], src=0)  # what the first one's file has
    resumed = RandomState()
    resumed.load_state_dict(given[0])
    resumed.on_train_start(SimpleNamespace(world_size=2, global_rank=rank), SimpleNamespace(device="cpu"))
    assert torch.equal(torch.rand(3), expected)
    distributed.destroy_process_group()


@pytest.mark.slow
def test_each_process_has_its_own(tmp_path):
    in_two(lambda rank: in_a_process(rank, tmp_path), tmp_path)


def test_another_number_of_processes_is_warned_of(caplog):
    resumed = RandomState()
    resumed.load_state_dict(RandomState().state_dict())
    resumed.on_train_start(SimpleNamespace(world_size=2, global_rank=1), SimpleNamespace(device="cpu"))
    assert "1 processes wrote the checkpoint, but 2 read it" in caplog.text
