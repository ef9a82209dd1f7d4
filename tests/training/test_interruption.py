"""A run that a signal interrupts saves the step it is at, and resumes to the bytes of the undisturbed one."""

import json
import os
import shlex
import signal

import pytest
import torch

from bert_ft.errors import Interrupted
from bert_ft.train import main
from bert_ft.training.module import ClassificationModule
from tests.training.running import SMALL_STAGE, small_run, train

# 10 batches an epoch
SETTINGS = ["trainer.max_epochs=2", "data.num_workers=0"]
KINDS = {
    "plain": [],
    "twice an epoch": ["trainer.val_check_interval=0.5"],
    "accumulated": ["trainer.accumulate_grad_batches=3"],
    "averaged": ["averaging=ema"],
    "max_steps": ["trainer.max_epochs=null", "trainer.max_steps=17"],
    "no validation": [
        "trainer.limit_val_batches=0",
        "callbacks.early_stopping=null",
        "callbacks.best_checkpoint=null",
    ],
}
# hook → when the signal comes
MOMENTS = {
    "first step": ("on_train_batch_start", lambda module: module.global_step == 0),
    "within an epoch": ("on_train_batch_start", lambda module: module.trainer.fit_loop.total_batch_idx == 3),
    "before a validation": (
        "on_train_batch_start",
        lambda module: module.trainer.fit_loop.total_batch_idx == 9,
    ),
    "in a validation": ("validation_step", lambda module: module.current_epoch == 0),
    "in the second epoch": (
        "on_train_batch_start",
        lambda module: module.trainer.fit_loop.total_batch_idx == 13,
    ),
    "in the last validation": ("validation_step", lambda module: module.current_epoch == 1),
    "at the end of training": ("on_train_end", lambda module: True),
    "in the test": ("test_step", lambda module: True),
}


def weights(folder) -> bytes:
    return (folder / "model/model.safetensors").read_bytes()


def interrupt(monkeypatch, hook, condition, folder, *arguments, by=signal.SIGINT):
    """Send a signal to this process in a hook, once; the exit code of the run, or None if it wasn't interrupted."""
    whole = getattr(ClassificationModule, hook)
    sent = []

    def with_signal(module, *inputs):
        if not sent and condition(module):
            sent.append(True)
            os.kill(os.getpid(), by)
        return whole(module, *inputs)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationModule, hook, with_signal)
        try:
            train(folder, *arguments)
        except Interrupted as stop:
            return stop.code
    return None


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_encoder, reviews):
    """The record and the weights of a run that nothing interrupts."""
    done = {}

    def run(kind):
        if kind not in done:
            folder = tmp_path_factory.mktemp("undisturbed") / "run"
            _, metrics = train(folder, tiny_encoder, reviews, *SETTINGS, *KINDS[kind])
            done[kind] = metrics, weights(folder)
        return done[kind]

    return run


# each moment in two kinds of runs; benchmarks/interruptions.py tries random moments
PAIRS = {
    (list(KINDS)[(number + offset) % len(KINDS)], moment)
    for number, moment in enumerate(MOMENTS)
    for offset in (0, 3)
} - {("no validation", "in the last validation")}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "moment"), sorted(PAIRS))
def test_every_moment(kind, moment, tmp_path, tiny_encoder, reviews, monkeypatch, undisturbed):
    metrics, expected = undisturbed(kind)
    arguments = tiny_encoder, reviews, *SETTINGS, *KINDS[kind]
    code = interrupt(monkeypatch, *MOMENTS[moment], tmp_path / "run", *arguments)
    assert code == 130
    _, resumed = train(tmp_path / "run", *arguments, f"resume_from={tmp_path / 'run'}")
    assert weights(tmp_path / "run") == expected
    for name in ("val", "test", "stopped", "checkpoint", "objective"):
        assert resumed[name] == metrics[name], name


def test_the_interrupted_step_is_saved_and_the_command_shown(
    tmp_path, tiny_encoder, reviews, monkeypatch, capsys
):
    folder = tmp_path / "a run"
    arguments = tiny_encoder, reviews, *SETTINGS
    code = interrupt(monkeypatch, *MOMENTS["within an epoch"], folder, *arguments, by=signal.SIGTERM)
    assert code == 143
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    shown = capsys.readouterr().err.split("interrupted at step 4; to continue: ")[1].strip()
    assert shlex.split(shown) == ["python", "-m", "bert_ft.train", f"resume_from={folder}"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
def test_the_seconds_of_both_parts_count(tmp_path, tiny_encoder, reviews, monkeypatch):
    arguments = tiny_encoder, reviews, *SETTINGS
    interrupt(monkeypatch, *MOMENTS["within an epoch"], tmp_path, *arguments)
    path = tmp_path / "checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    [state] = [state for name, state in checkpoint["callbacks"].items() if "Interruptible" in name]
    assert state["seconds"] > 0
    state["seconds"] = 1000.0
    torch.save(checkpoint, path)
    _, metrics = train(tmp_path, *arguments, f"resume_from={tmp_path}")
    assert metrics["fit_seconds"] > 1000


def test_without_a_last_checkpoint_nothing_is_promised(tmp_path, tiny_encoder, reviews, monkeypatch, capsys):
    arguments = tiny_encoder, reviews, *SETTINGS, "callbacks.last_checkpoint=null"
    assert interrupt(monkeypatch, *MOMENTS["within an epoch"], tmp_path, *arguments) == 130
    assert "there is no checkpoint to resume from (callbacks.last_checkpoint=null)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 4])
def test_early_stopping_that_had_decided(step, tmp_path, tiny_encoder, reviews, monkeypatch):
    """Broken off between the validation that ended training and the end of the run."""
    settings = ["trainer.max_epochs=6", "callbacks.early_stopping.patience=1", "optimizer.lr=1e-9"]
    arguments = tiny_encoder, reviews, *settings
    _, expected = train(tmp_path / "whole", *arguments)
    assert expected["stopped"].startswith("no better")
    assert interrupt(monkeypatch, *MOMENTS["in the test"], tmp_path / "run", *arguments) == 130
    _, metrics = train(tmp_path / "run", *arguments, f"resume_from={tmp_path / 'run'}")
    assert metrics["stopped"] == expected["stopped"]
    assert metrics["checkpoint"]["step"] == expected["checkpoint"]["step"]
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


@pytest.mark.slow
def test_interrupted_in_pre_training(tmp_path, tiny_encoder, reviews, monkeypatch, capsys):
    from bert_ft.training.pretraining_module import PretrainingModule

    settings = [*SETTINGS, *SMALL_STAGE, "pretrain=mlm", "pretrain.trainer.max_epochs=2"]
    arguments = tiny_encoder, reviews, *settings
    train(tmp_path / "whole", *arguments, "pretrain.num_cached=0")
    whole = PretrainingModule.training_step
    sent = []

    def with_signal(module, *inputs):
        if not sent and module.global_step == 3:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return whole(module, *inputs)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainingModule, "training_step", with_signal)
        with pytest.raises(Interrupted):
            train(tmp_path / "run", *arguments)
    errors = capsys.readouterr().err
    assert (
        errors.count(
            f"interrupted at step 4; to continue: python -m bert_ft.train resume_from={tmp_path}/run\n"
        )
        == 1
    )
    train(tmp_path / "run", *arguments, f"resume_from={tmp_path / 'run'}")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


@pytest.mark.slow
def test_more_epochs_of_a_finished_run(tmp_path, tiny_encoder, reviews):
    arguments = tiny_encoder, reviews, "schedule=constant", "schedule.warmup_ratio=0"
    train(tmp_path / "two", *arguments, "trainer.max_epochs=1")
    _, metrics = train(
        tmp_path / "two", *arguments, "trainer.max_epochs=2", f"resume_from={tmp_path / 'two'}"
    )
    _, expected = train(tmp_path / "whole", *arguments, "trainer.max_epochs=2")
    assert metrics["val"] == expected["val"]
    assert weights(tmp_path / "two") == weights(tmp_path / "whole")
    assert json.loads((tmp_path / "two/metrics_before.json").read_text())["checkpoint"]["epoch"] == 1.0
    for epochs, problem in (
        (2, "is finished, after all of its 20 steps"),
        (1, "has done 20 steps, and would have 10"),
    ):
        with pytest.raises(ValueError, match=problem):
            main(
                small_run(
                    tmp_path / "two",
                    *arguments,
                    f"trainer.max_epochs={epochs}",
                    f"resume_from={tmp_path / 'two'}",
                )
            )
