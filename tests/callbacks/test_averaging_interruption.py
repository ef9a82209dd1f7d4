"""Runs with averaging that end early or break off, and are resumed."""

import json

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Timer

from bert_ft.errors import CheckpointError
from bert_ft.training.module import ClassificationModule
from tests.training.running import interrupted, train

from .averaged import (
    EMA,
    LAST,
    PLAIN,
    SWA,
    TABLE,
    assert_close,
    assert_equal,
    averaged,
    built,
    checkpoint,
    difference,
    expected,
    finished,
    states_equal,
    trained,
    weights,
    whole,
)

pytestmark = pytest.mark.slow
# no improvement exceeds 9: training stops after the third validation
STOP = ["callbacks.early_stopping.min_delta=9", "callbacks.early_stopping.patience=2"]
TIME = "trainer.max_time='00:00:00:{}'"


@pytest.mark.parametrize(
    ("averaging", "stop", "num_steps"),
    [
        ("swa", STOP, 15),
        ("ema", [TIME.format("06")], 7),
        ("swa", [TIME.format("06"), LAST], 7),
        ("ema", [TIME.format("00")], 0),
    ],
    ids=["early stopping", "time limit", "time limit, no best checkpoint", "no time at all"],
)
def test_a_start_that_is_never_reached_is_no_averaging(
    tmp_path, tiny_encoder, reviews, monkeypatch, averaging, stop, num_steps
):
    results = []
    late = [f"averaging={averaging}", "averaging.start_ratio=0.9"]
    for name, options in (("none", []), ("averaging", late)):
        run, recorder = built(tmp_path / name, tiny_encoder, reviews, *options, *stop)
        # a second for each step; the current step isn't in the record yet
        monkeypatch.setattr(Timer, "time_elapsed", lambda *_, steps=recorder.raw: len(steps))
        run.run()
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        paths = sorted((tmp_path / name).glob("*/*.ckpt"))
        assert len(recorder.raw) == num_steps
        assert recorder.losses or num_steps == 0
        files = [checkpoint(path.parents[1], path.stem) for path in paths]
        results.append((metrics | {"fit_seconds": None}, files, run.module.state_dict()))
    (metrics, files, state), (other_metrics, other_files, other_state) = results
    assert metrics == other_metrics
    assert metrics["weights"] == "raw"
    assert metrics["stopped"] != "all steps done"
    assert states_equal(state, other_state)
    assert len(files) == len(other_files) == (0 if num_steps == 0 else 2 - (LAST in stop))
    for one, other in zip(files, other_files, strict=True):
        assert states_equal(one["state_dict"], other["state_dict"])
        assert other["weights"] == "raw"
        assert "averaging_state" not in other


def test_validation_and_checkpoints_before_the_start_have_raw_weights(tmp_path, tiny_encoder, reviews):
    saved = {}

    class Reader(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step in (5, 10, 15) and trainer.global_step not in saved:
                saved[trainer.global_step] = checkpoint(tmp_path), checkpoint(tmp_path, "best")

    options = ["averaging=ema", "averaging.start_ratio=0.6"]  # the twelfth step
    run, recorder = built(tmp_path, tiny_encoder, reviews, *options)
    run.trainer.callbacks.append(Reader())
    run.run()
    for step in (5, 10):
        assert_equal(trained(recorder.validated[step]), trained(recorder.raw[step - 1]))
        for file in saved[step]:
            raw = whole(recorder.raw[file["global_step"] - 1], run)
            # rows that no training text uses have decayed since the step was recorded
            assert_close({name: file["state_dict"][name] for name in raw}, raw, 1e-4)
            del raw[TABLE]
            exact = {name: torch.from_numpy(value) for name, value in raw.items()}
            assert_equal({name: file["state_dict"][name] for name in raw}, exact)
            assert file["weights"] == "raw"
    assert saved[15][0]["weights"] == "ema"
    assert difference(recorder.validated[15], recorder.raw[14]) > 1e-4


@pytest.mark.parametrize(("overrides", "last"), [(SWA, []), (EMA, [LAST])], ids=["swa", "ema"])
def test_early_stopping_after_the_start_keeps_the_average(tmp_path, tiny_encoder, reviews, overrides, last):
    run, recorder, metrics = finished(tmp_path, tiny_encoder, reviews, *overrides, *STOP, *last)
    assert metrics["stopped"].startswith("no better val/accuracy for 2 validations, since step ")
    assert len(recorder.raw) == 15
    assert metrics["weights"] == overrides[0].removeprefix("averaging=")
    step = metrics["checkpoint"]["step"]
    assert_close(weights(run.module), expected(overrides, recorder.raw, step))
    assert_close(averaged(run), expected(overrides, recorder.raw))
    assert step == 15 or not last


@pytest.mark.parametrize(
    ("overrides", "accumulate"),
    [
        (SWA, 1),
        ([*SWA, "averaging.cycle_steps=2"], 2),
        (EMA, 2),
        ([*SWA, "averaging.start_ratio=0.8"], 2),
        ([*EMA, "averaging.start_ratio=0.8"], 1),
        ([*EMA, "trainer.precision=64"], 1),
        ([*SWA, "trainer.precision=bf16-true"], 2),
    ],
    ids=["swa", "cycles", "ema", "before swa", "before ema", "64 bits", "16 bits"],
)
def test_a_resumed_run_equals_the_uninterrupted_one(
    tmp_path, tiny_encoder, reviews, monkeypatch, overrides, accumulate
):
    # of ten batches an epoch; the last validation before the break is after fourteen
    length = ["trainer.max_epochs=3", "trainer.val_check_interval=4"]
    settings = [*PLAIN, *overrides, *length, f"trainer.accumulate_grad_batches={accumulate}"]
    arguments = (tiny_encoder, reviews, *settings)
    train(tmp_path / "whole", *arguments)

    def is_due(module):
        return module.global_step == 17 // accumulate

    last = interrupted(monkeypatch, "on_train_batch_start", is_due, tmp_path / "broken", *arguments)
    broken = torch.load(last, weights_only=True)
    assert broken["global_step"] == 14 // accumulate
    assert broken["weights"] == ("raw" if overrides[-1].endswith("start_ratio=0.8") else overrides[0][-3:])
    _, metrics = train(tmp_path / "broken", *arguments, f"resume_from={last}")
    whole, resumed = (checkpoint(tmp_path / name) for name in ("whole", "broken"))
    for part in ("state_dict", "current_model_state", "averaging_state"):
        assert states_equal(whole[part], resumed[part]), part
    assert not states_equal(whole["state_dict"], whole["current_model_state"])
    seconds = {"fit_seconds": metrics["fit_seconds"]}
    assert metrics == json.loads((tmp_path / "whole/metrics.json").read_text()) | seconds


def test_a_resume_under_another_averaging_is_refused(tmp_path, tiny_encoder, reviews):
    """The checkpoint's average would be trained further as if it were the weights."""
    train(tmp_path, tiny_encoder, reviews, *PLAIN, *SWA)
    (tmp_path / "metrics.json").unlink()
    resume = f"resume_from={tmp_path / 'checkpoints/last.ckpt'}"
    for others in ([], EMA):
        with pytest.raises(CheckpointError, match=r"resume_from: .* the same averaging=swa"):
            train(tmp_path, tiny_encoder, reviews, *PLAIN, *others, resume)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_validation_restores_the_weights_of_training(
    tmp_path, tiny_encoder, reviews, monkeypatch, error
):
    run, recorder = built(tmp_path, tiny_encoder, reviews, *EMA)
    validate = ClassificationModule.validation_step

    def break_off(module, *arguments):
        validate(module, *arguments)
        if module.global_step == 10:
            raise error("broken off")

    monkeypatch.setattr(ClassificationModule, "validation_step", break_off)
    with pytest.raises((RuntimeError, SystemExit)):
        run.run()
    assert difference(recorder.validated[10], recorder.raw[9]) > 1e-4
    assert_equal(weights(run.module), recorder.raw[9])
