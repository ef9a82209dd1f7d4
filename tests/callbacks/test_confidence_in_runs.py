"""Confidence in whole runs: by the logits of the saved model, and the same after a resume."""

import csv

import numpy as np
import pytest

from bert_ft.callbacks.confidence import ConfidenceMonitor
from bert_ft.training.module import ClassificationModule
from tests.training.running import reloaded_logits

from .monitored import IGNORED_REMARKS, arrays, built, finished, records

pytestmark = [*IGNORED_REMARKS, pytest.mark.slow]


class TestInARun:
    @pytest.mark.parametrize("averaging", [[], ["averaging=ema", "averaging.decay=0.8"]], ids=["raw", "ema"])
    def test_logits_are_those_of_the_saved_model(self, tmp_path, tiny_encoder, reviews, averaging):
        monitor = ConfidenceMonitor(tmp_path / "monitor")
        _, log = finished(tmp_path, tiny_encoder, reviews, [monitor], *averaging)
        saved = arrays(tmp_path / "monitor/validation_10.npz")
        logits, labels = reloaded_logits(tmp_path, reviews, "validation")
        np.testing.assert_allclose(saved["logits"], logits, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(saved["labels"], labels)
        assert saved["names"].tolist() == ["negative", "positive"]
        accuracy = (saved["logits"].argmax(1) == saved["labels"]).mean()
        assert accuracy == pytest.approx(records(tmp_path / "metrics.json")["val"]["accuracy"])
        with reviews["validation"].open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for record in records(tmp_path / "monitor/top_losses_10.json"):
            assert rows[record["row"]] == {"text": record["text"], "label": record["label"]}
        assert log.of("confidence/").keys() == {10}

    def test_resumed(self, tmp_path, tiny_encoder, reviews, monkeypatch):
        """Steps are counted on, and the files equal those of the run that wasn't broken off."""
        settings = ["trainer.val_check_interval=0.5"]
        whole = tmp_path / "whole"
        finished(whole, tiny_encoder, reviews, [ConfidenceMonitor(whole / "monitor")], *settings)

        def break_off(module, *_):
            if module.global_step == 7:
                raise RuntimeError("broken off")

        part = tmp_path / "part"
        with monkeypatch.context() as patch:
            patch.setattr(ClassificationModule, "on_train_batch_start", break_off)
            run, _ = built(part, tiny_encoder, reviews, [ConfidenceMonitor(part / "monitor")], *settings)
            with pytest.raises(RuntimeError, match="broken off"):
                run.run()
        names = {path.name for path in (part / "monitor").iterdir()}
        assert names == {"validation_5.npz", "top_losses_5.json"}
        (part / "monitor/validation_5.npz").unlink()
        resume = f"resume_from={part / 'checkpoints/last.ckpt'}"
        finished(part, tiny_encoder, reviews, [ConfidenceMonitor(part / "monitor")], *settings, resume)
        assert {path.name for path in (part / "monitor").iterdir()} == {
            "top_losses_5.json",
            "validation_10.npz",
            "top_losses_10.json",
        }
        np.testing.assert_array_equal(
            arrays(part / "monitor/validation_10.npz")["logits"],
            arrays(whole / "monitor/validation_10.npz")["logits"],
        )
