"""What a finished run leaves on the disk, and that it can still be trained further."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.training.kept_files import size_line, tidy
from bert_ft.training.shared_weights import SHARED, read_checkpoint

from .running import SMALL_STAGE, train

BRIEF = ("optimizer.lr=1e-3", "trainer.max_epochs=2")


@pytest.fixture
def finished(tmp_path) -> Path:
    """The folder of a run as it was when it ended: two weights, of which the last checkpoint has another one."""
    weight, bias = torch.arange(600.0).view(20, 30), torch.zeros(())
    for name in ("model", "checkpoints", "pretraining/model", "pretraining/checkpoints"):
        (tmp_path / name).mkdir(parents=True)
    save_file({"bert.weight": weight, "bias": bias}, tmp_path / "model/model.safetensors")
    states = {"best": {"a.weight": weight, "a.bias": bias}, "last": {"a.weight": weight + 1, "a.bias": bias}}
    for name, state in states.items():
        content = {"state_dict": state, "global_step": 5, "optimizer": [weight]}
        torch.save(content, tmp_path / f"checkpoints/{name}.ckpt")
    torch.save({}, tmp_path / "pretraining/checkpoints/last.ckpt")
    return tmp_path


def test_each_weight_is_kept_once_and_read_as_before(finished):
    files = sorted((finished / "checkpoints").iterdir())
    before = {path: torch.load(path, weights_only=True) for path in files}
    tidy(finished, "resumable")
    for path in files:
        raw = torch.load(path, weights_only=True)
        assert list(raw["state_dict"]) == ([] if path.stem == "best" else ["a.weight"])
        found = read_checkpoint(path)
        assert found.keys() == before[path].keys()
        assert list(found["state_dict"]) == ["a.weight", "a.bias"]
        for name, value in before[path]["state_dict"].items():
            assert torch.equal(found["state_dict"][name], value)
    assert not (finished / "pretraining/checkpoints").exists()
    assert (finished / "pretraining/model").exists()
    contents = [path.read_bytes() for path in files]
    tidy(finished, "resumable")
    assert [path.read_bytes() for path in files] == contents


@pytest.mark.parametrize("change", ["another", "removed"])
def test_another_model_is_never_taken_for_the_weights(finished, change):
    tidy(finished, "resumable")
    saved = finished / "model/model.safetensors"
    saved.unlink()
    if change == "another":
        save_file({"bert.weight": torch.ones(20, 30), "bias": torch.zeros(())}, saved)
    with pytest.raises(CheckpointError, match=r"best\.ckpt: its weights .*model\.safetensors"):
        read_checkpoint(finished / "checkpoints/best.ckpt")


def test_the_others_keep_all_or_nothing_but_the_model(finished):
    names = {path.relative_to(finished) for path in finished.rglob("*")}
    tidy(finished, "all")
    assert {path.relative_to(finished) for path in finished.rglob("*")} == names
    assert "checkpoints/ (" in size_line(finished)
    assert size_line(finished).endswith("may be deleted unless you train the run further")
    tidy(finished, "model")
    assert [path.name for path in finished.rglob("*") if path.is_file()] == ["model.safetensors"]
    assert size_line(finished) == "3 kB"


def test_the_checkpoint_of_pretraining_stays_where_it_is_the_only_one(finished):
    (finished / "checkpoints/last.ckpt").unlink()
    tidy(finished, "resumable")
    assert (finished / "pretraining/checkpoints/last.ckpt").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [(), ("averaging=ema",), ("pretrain=mlm", *SMALL_STAGE)], ids=["plain", "averaged", "adapted"]
)
def test_a_finished_run_is_trained_further_as_if_all_were_kept(tmp_path, tiny_encoder, reviews, settings):
    records, states, sizes = [], [], []
    for keep in ("all", "resumable"):
        folder = tmp_path / keep
        words = (*BRIEF, f"keep={keep}", *settings)
        train(folder, tiny_encoder, reviews, *words)
        sizes.append(sum(path.stat().st_size for path in (folder / "checkpoints").iterdir()))
        best = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
        assert (SHARED in best) == (keep == "resumable")
        words = (*words, f"resume_from={folder}", "trainer.max_epochs=4")
        _, record = train(folder, tiny_encoder, reviews, *words)
        assert (folder / "pretraining/checkpoints").exists() == (bool(settings[1:]) and keep == "all")
        for name in ("fit_seconds", "versions", "pretraining"):
            record.pop(name, None)
        records.append(record)
        states.append(read_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"])
    assert records[0] == records[1]
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert sizes[1] < 0.8 * sizes[0]


@pytest.mark.slow
def test_without_checkpoints_a_finished_run_is_not_begun_again(tmp_path, tiny_encoder, reviews):
    train(tmp_path, tiny_encoder, reviews, *BRIEF, "keep=model")
    assert not (tmp_path / "checkpoints").exists()
    before = json.loads((tmp_path / "metrics.json").read_text())
    with pytest.raises(ConfigError, match=r"its checkpoints were deleted .*encoder\.name_or_path="):
        train(tmp_path, tiny_encoder, reviews, *BRIEF, f"resume_from={tmp_path}", "trainer.max_epochs=3")
    assert json.loads((tmp_path / "metrics.json").read_text()) == before
