"""Runs with averaging that end early: plain ones before the average starts, and after it with the average."""

import json

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Timer

from tests.training.running import train

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
    finished,
    mean,
    moving_average,
    states_equal,
    trained,
    weights,
    whole,
)

# an improvement by more than 9 there is none: after the third validation
STOP = ["callbacks.early_stopping.min_delta=9", "callbacks.early_stopping.patience=2"]
TIME = "trainer.max_time='00:00:00:{}'"


@pytest.mark.slow
class TestAStartThatIsNeverReached:
    @pytest.mark.parametrize("overrides", [["averaging=swa"], ["averaging=ema"]], ids=["swa", "ema"])
    @pytest.mark.parametrize(
        ("stop", "num_steps"),
        [(STOP, 15), ([TIME.format("06")], 7), ([TIME.format("06"), LAST], 7), ([TIME.format("00")], 0)],
        ids=["early stopping", "time limit", "time limit, no best checkpoint", "no time at all"],
    )
    def test_is_no_averaging(self, tmp_path, tiny_encoder, reviews, monkeypatch, stop, num_steps, overrides):
        results = []
        for name, options in (("none", []), ("averaging", [*overrides, "averaging.start_ratio=0.9"])):
            run, recorder = built(tmp_path / name, tiny_encoder, reviews, *options, *stop)
            # a second for each step; this one's isn't in the record yet
            monkeypatch.setattr(Timer, "time_elapsed", lambda *_, steps=recorder.raw: len(steps))
            run.run()
            metrics = json.loads((tmp_path / name / "metrics.json").read_text())
            files = [
                checkpoint(file.parents[1], file.stem) for file in sorted((tmp_path / name).glob("*/*.ckpt"))
            ]
            assert len(recorder.raw) == num_steps
            assert recorder.losses or num_steps == 0
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

    def test_one_that_is_reached_is_another_thing(self, tmp_path, tiny_encoder, reviews):
        """The negative control."""
        for name, options in (("none", []), ("averaging", ["averaging=ema", "averaging.start_ratio=0.9"])):
            train(tmp_path / name, tiny_encoder, reviews, *PLAIN, *options)
        none, averaging = (checkpoint(tmp_path / name) for name in ("none", "averaging"))
        assert not states_equal(none["state_dict"], averaging["state_dict"])
        assert "averaging_state" in averaging

    def test_validation_and_checkpoints_before_the_start_hold_raw_weights(
        self, tmp_path, tiny_encoder, reviews
    ):
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
                # rows that no training text uses were decayed since the step was noted
                assert_close({name: file["state_dict"][name] for name in raw}, raw, 1e-4)
                del raw[TABLE]
                assert_equal(
                    {name: file["state_dict"][name] for name in raw},
                    {name: torch.from_numpy(value) for name, value in raw.items()},
                )
                assert file["weights"] == "raw"
        assert saved[15][0]["weights"] == "ema"
        assert difference(recorder.validated[15], recorder.raw[14]) > 1e-4


@pytest.mark.slow
class TestEarlyStopping:
    """With averaging the weights that training stops at are no others than those that were validated."""

    @pytest.mark.parametrize("overrides", [SWA, EMA], ids=["swa", "ema"])
    @pytest.mark.parametrize("best", [True, False])
    def test_after_the_start(self, tmp_path, tiny_encoder, reviews, overrides, best):
        run, recorder, metrics = finished(
            tmp_path,
            tiny_encoder,
            reviews,
            *overrides,
            *STOP,
            *([] if best else [LAST]),
        )
        assert metrics["stopped"] == "no better val/accuracy for 2 validations"
        assert len(recorder.raw) == 15
        step = metrics["checkpoint"]["step"]
        expected = (
            mean(recorder.raw[4:step]) if overrides is SWA else moving_average(recorder.raw[:step], 0.8)
        )
        assert metrics["weights"] == overrides[0].removeprefix("averaging=")
        assert_close(weights(run.module), expected)
        end = mean(recorder.raw[4:]) if overrides is SWA else moving_average(recorder.raw, 0.8)
        assert_close(averaged(run), end)
        assert best or step == 15
