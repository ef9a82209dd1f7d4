"""Runs with averaging that break off: a resume goes on as if nothing had been, and training has its weights back."""

import json

import pytest
import torch

from bert_ft.errors import CheckpointError
from bert_ft.training.module import ClassificationModule
from tests.training.running import interrupted, train

from .averaged import EMA, PLAIN, SWA, assert_equal, built, checkpoint, difference, states_equal, weights


@pytest.mark.slow
class TestResume:
    @pytest.mark.parametrize("accumulate", [1, 2])
    @pytest.mark.parametrize(
        "overrides",
        [
            SWA,
            [*SWA, "averaging.cycle_steps=2"],
            EMA,
            [*SWA, "averaging.start_ratio=0.8"],
            [*EMA, "averaging.start_ratio=0.8"],
            [*EMA, "trainer.precision=64"],
            [*SWA, "trainer.precision=bf16-true"],
        ],
        ids=["swa", "cycles", "ema", "before swa", "before ema", "64 bits", "16 bits"],
    )
    def test_equals_the_uninterrupted_run(
        self, tmp_path, tiny_encoder, reviews, monkeypatch, overrides, accumulate
    ):
        arguments = (
            tiny_encoder,
            reviews,
            *PLAIN,
            *overrides,
            "trainer.max_epochs=3",
            # of ten batches; the last validation before the break is after fourteen
            "trainer.val_check_interval=4",
            f"trainer.accumulate_grad_batches={accumulate}",
        )
        train(tmp_path / "whole", *arguments)
        last = interrupted(
            monkeypatch,
            "on_train_batch_start",
            lambda module: module.global_step == 17 // accumulate,
            tmp_path / "broken",
            *arguments,
        )
        broken = torch.load(last, weights_only=True)
        assert broken["global_step"] == 14 // accumulate
        assert broken["weights"] == (
            "raw" if overrides[-1].endswith("start_ratio=0.8") else overrides[0][-3:]
        )
        _, metrics = train(tmp_path / "broken", *arguments, f"resume_from={last}")
        whole, resumed = (checkpoint(tmp_path / name) for name in ("whole", "broken"))
        for part in ("state_dict", "current_model_state", "averaging_state"):
            assert states_equal(whole[part], resumed[part]), part
        assert not states_equal(whole["state_dict"], whole["current_model_state"])
        assert metrics == json.loads((tmp_path / "whole/metrics.json").read_text()) | {
            "fit_seconds": metrics["fit_seconds"]
        }

    @pytest.mark.parametrize("others", [[], EMA], ids=["none", "ema"])
    def test_under_another_averaging_is_refused(self, tmp_path, tiny_encoder, reviews, others):
        """The checkpoint's average would be trained on as if it were the weights."""
        train(tmp_path, tiny_encoder, reviews, *PLAIN, *SWA)
        (tmp_path / "metrics.json").unlink()
        last = tmp_path / "checkpoints/last.ckpt"
        with pytest.raises(CheckpointError, match=r"resume_from: .* the same averaging=swa"):
            train(tmp_path, tiny_encoder, reviews, *PLAIN, *others, f"resume_from={last}")


@pytest.mark.slow
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_in_validation_the_weights_of_training_are_back(
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
