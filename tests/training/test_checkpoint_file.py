"""What can't be written is told in one line, and never costs what was there before."""

import errno
import os
import re
import sys
import threading
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from bert_ft import atomic_file
from bert_ft.config import entry
from bert_ft.errors import CheckpointError, OutputError, unwritten
from bert_ft.reporting import board
from bert_ft.train import main
from bert_ft.training import checkpoint_file, fitting
from bert_ft.training.checkpoint_file import WholeCheckpoints, remove_unfinished, save_whole
from tests.training.running import SMALL, file_overrides, train


def full() -> OSError:
    """A new one each time, since the one who reports it adds the file's name."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_disk(monkeypatch, *, after: int = 0):
    """Let the file system refuse every write of a checkpoint after the first ones."""
    left = [after]
    whole = checkpoint_file._write

    def write(checkpoint, path):
        if not left[0]:
            path.write_bytes(b"half")
            raise full()
        left[0] -= 1
        whole(checkpoint, path)

    monkeypatch.setattr(checkpoint_file, "_write", write)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints/last.ckpt"
    WholeCheckpoints().save_checkpoint({"a": torch.ones(3)}, path)
    before = path.read_bytes()
    fill_disk(monkeypatch)
    with pytest.raises(
        OutputError, match=r"last\.ckpt: couldn't be written: No space left on device; the previous"
    ):
        WholeCheckpoints().save_checkpoint({"a": torch.zeros(3)}, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_writers_own_error_is_named(tmp_path, monkeypatch):
    """torch says only that its writer failed."""

    def refuse(self, content):
        self.error = full()
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(checkpoint_file._Output, "write", refuse)
    with pytest.raises(OutputError, match="No space left on device"):
        WholeCheckpoints().save_checkpoint({"a": torch.ones(3)}, tmp_path / "a.ckpt")


def test_nothing_is_gathered_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    WholeCheckpoints().save_checkpoint({"a": torch.ones(3)}, tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["a"].tolist() == [1, 1, 1]


def test_a_file_that_cannot_be_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"before")

    def refuse(source, target):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(target))

    monkeypatch.setattr(atomic_file.os, "replace", refuse)
    with pytest.raises(OutputError, match=r"a\.ckpt: couldn't be written: Operation not permitted"):
        WholeCheckpoints().save_checkpoint({}, path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "model"

    def save(content: str):
        def fill(place: Path) -> None:
            place.mkdir()
            (place / "weights").write_text(content)
            if content == "half":
                raise full()

        return fill

    save_whole(folder, save("first"))
    with pytest.raises(
        OutputError, match="model: couldn't be written: No space left on device; the previous"
    ):
        save_whole(folder, save("half"))
    assert (folder / "weights").read_text() == "first"
    save_whole(folder, save("second"))
    assert (folder / "weights").read_text() == "second"
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".0.tmp").touch()
    (tmp_path / "last.ckpt").touch()
    remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "last.ckpt"]


@pytest.mark.slow
def test_a_run_on_a_full_disk_ends_with_one_line(tmp_path, tiny_encoder, reviews, monkeypatch, capsys):
    run = tmp_path / "run"
    words = [
        *SMALL,
        *file_overrides(reviews),
        f"encoder.name_or_path={tiny_encoder}",
        f"data.cache_dir={tmp_path}/cache",
    ]
    monkeypatch.setattr(sys, "argv", ["train", *words, "trainer.max_epochs=2", f"hydra.run.dir={run}"])
    monkeypatch.setattr(sys, "orig_argv", sys.argv)
    fill_disk(monkeypatch, after=2)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        rf"{re.escape(str(run))}/checkpoints/(best|last)\.ckpt: couldn't be written: No space left on device; the previous "
        rf"content is intact; to continue afterwards: python -m bert_ft\.train resume_from={re.escape(str(run))}",
        line,
    )
    for name in ("best", "last"):
        assert torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["global_step"] == 10
    monkeypatch.undo()
    _, metrics = train(run, tiny_encoder, reviews, "trainer.max_epochs=2", f"resume_from={run}")
    assert metrics["stopped"] == "all steps done"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_other_files_that_cannot_be_written(number, capsys):
    with pytest.raises(SystemExit) as stop:
        entry._stop_unwritten(OSError(number, "", "metrics.csv"))
    assert stop.value.code == 1
    assert capsys.readouterr().err == f"metrics.csv: {os.strerror(number)}\n"
    with pytest.raises(FileNotFoundError):
        entry._stop_unwritten(FileNotFoundError(errno.ENOENT, "a bug"))


def test_a_thread_that_cannot_write_leaves_a_note(monkeypatch):
    """TensorBoard writes in one, and raises the error again in its next call."""
    shown, bug = [], ValueError("a bug")
    monkeypatch.setattr(threading, "excepthook", shown.append)
    with entry.noting_unwritten():
        disk_is_full = full()
        for error in (disk_is_full, bug):
            threading.excepthook(threading.ExceptHookArgs((type(error), error, None, None)))
        assert unwritten == [disk_is_full]
    unwritten.clear()
    assert [failed.exc_value for failed in shown] == [bug]


def test_a_report_that_cannot_be_written_ends_with_one(tmp_path, monkeypatch):
    monkeypatch.setattr(board, "publish", lambda folder: (_ for _ in ()).throw(full()))
    unwritten.clear()
    assert board.publish_if_possible(tmp_path) is None
    assert str(unwritten.pop()) == (
        f"a file in {tmp_path}: No space left on device; to write the report afterwards: "
        f"python -m bert_ft.report run={tmp_path}"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [["callbacks.best_checkpoint.save_top_k=3"], ["callbacks.best_checkpoint.save_top_k=-1"]]
)
def test_the_best_of_several_is_tested_and_saved(settings, tmp_path, tiny_encoder, reviews):
    arguments = ["trainer.max_epochs=3", "callbacks.best_checkpoint.standard_errors=0"]
    _, several = train(tmp_path / "several", tiny_encoder, reviews, *arguments, *settings)
    _, one = train(tmp_path / "one", tiny_encoder, reviews, *arguments)
    names = sorted(path.name for path in (tmp_path / "several/checkpoints").iterdir())
    assert names == ["best-step=10.ckpt", "best-step=20.ckpt", "best-step=30.ckpt", "last.ckpt"]
    assert several["checkpoint"]["step"] == one["checkpoint"]["step"]
    assert several["val"] == one["val"]
    weights = "model/model.safetensors"
    assert (tmp_path / "several" / weights).read_bytes() == (tmp_path / "one" / weights).read_bytes()


class Overwriting(Callback):
    """Writes other weights over the best checkpoint, at the end of training."""

    def on_train_end(self, trainer, pl_module):
        path = trainer.checkpoint_callback.best_model_path
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["global_step"] += self.steps
        checkpoint["val_metrics"]["accuracy"] += self.value
        torch.save(checkpoint, path)

    def __init__(self, steps, value):
        self.steps, self.value = steps, value


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "value"), [(1, 0.0), (0, 0.001)])
def test_what_was_not_validated_as_the_best_is_refused(
    steps, value, tmp_path, tiny_encoder, reviews, monkeypatch
):
    whole = fitting.take_best

    def overwritten(trainer, *arguments):
        Overwriting(steps, value).on_train_end(trainer, None)
        return whole(trainer, *arguments)

    monkeypatch.setattr("bert_ft.training.stage.take_best", overwritten)
    with pytest.raises(
        CheckpointError, match=r"best\.ckpt: holds step .*, but the best validated checkpoint was of step"
    ):
        train(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=1")
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, -1, None])
def test_a_best_checkpoint_that_is_not_the_recorded_one(steps, tmp_path, tiny_encoder, reviews, caplog):
    """Newer, as after a kill between two writes; older; removed."""
    arguments = [tiny_encoder, reviews, "schedule=constant", "schedule.warmup_ratio=0"]
    train(tmp_path, *arguments, "trainer.max_epochs=1")
    best = tmp_path / "checkpoints/best.ckpt"
    if steps is None:
        best.unlink()
    else:
        checkpoint = torch.load(best, weights_only=True)
        torch.save({**checkpoint, "global_step": checkpoint["global_step"] + steps}, best)
    _, metrics = train(tmp_path, *arguments, "trainer.max_epochs=2", f"resume_from={tmp_path}")
    assert metrics["checkpoint"]["step"] == 20
    assert ("was removed or replaced since step 10" in caplog.text) is (steps != 1)
