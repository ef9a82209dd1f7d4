"""Whose a checkpoint is, and what is refused or mended; whole resumed runs are in the files of what they resume."""

import subprocess
import sys

import pytest

from bert_ft.errors import CheckpointError
from bert_ft.training.resume import (
    TRAINED_ROWS_KEY,
    WEIGHTS_KEY,
    check_same_training,
    is_of_pretraining,
    run_of,
)


def test_a_checkpoint_of_the_stage_before_is_its_runs(tmp_path):
    last = tmp_path / "run/pretraining/checkpoints/last.ckpt"
    assert run_of(last) == tmp_path / "run"
    assert is_of_pretraining(last)
    (tmp_path / "run/pretraining/.hydra").mkdir(parents=True)  # a run that is called so
    assert run_of(last) == tmp_path / "run/pretraining"
    assert not is_of_pretraining(last)


def test_a_command_can_ask_before_torch_is_loaded():
    code = "import sys, bert_ft.config.entry, bert_ft.training.resume; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("saved", "now"), [("raw", None), ("raw", "swa"), ("swa", "swa")])
def test_weights_that_continue_as_they_were(saved, now):
    checkpoint = {WEIGHTS_KEY: saved, TRAINED_ROWS_KEY: [7]}
    check_same_training(checkpoint, averaging=now, trained_rows=[7])
    with pytest.raises(CheckpointError, match="the run trained other rows of the token embedding"):
        check_same_training(checkpoint, averaging=now, trained_rows=[8])


@pytest.mark.parametrize("now", [None, "ema"])
def test_an_average_that_nothing_would_continue(now):
    with pytest.raises(CheckpointError, match=r"averages its weights; continue with the same averaging=swa"):
        check_same_training({WEIGHTS_KEY: "swa"}, averaging=now, trained_rows=[])
