"""What a run with averaging validates, saves, reports and exports: the average, and what a resume needs."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from bert_ft.models.bundle import load_bundle
from tests.training.running import reloaded_logits

from .averaged import (
    EMA,
    LAST,
    SWA,
    assert_close,
    assert_equal,
    checkpoint,
    difference,
    finished,
    mean,
    moving_average,
    weights,
    whole,
)


@pytest.fixture(scope="module", params=["swa", "ema"])
def kept(request, tmp_path_factory, tiny_encoder, reviews):
    """A run whose best validation is one of averaged weights."""
    folder = tmp_path_factory.mktemp(request.param)
    overrides = {"swa": [*SWA, "averaging.start_ratio=0.1"], "ema": EMA}[request.param]
    run, recorder, metrics = finished(
        folder, tiny_encoder, reviews, *overrides, "objective.metric=val/loss", "objective.mode=min"
    )

    def expected(step):
        if request.param == "swa":
            return mean(recorder.raw[1:step])
        return moving_average(recorder.raw[:step], 0.8)

    return SimpleNamespace(
        folder=folder,
        run=run,
        recorder=recorder,
        metrics=metrics,
        expected=expected,
        name=request.param,
        step=metrics["checkpoint"]["step"],
    )


@pytest.mark.slow
class TestWhatIsReportedAndKept:
    def test_validated_weights_are_the_average(self, kept):
        assert list(kept.recorder.validated) == [5, 10, 15, 20]
        for step, values in kept.recorder.validated.items():
            assert_close(values, kept.expected(step))
            assert difference(values, kept.recorder.raw[step - 1]) > 1e-4

    @pytest.mark.parametrize("name", ["best", "last"])
    def test_saved_weights_are_the_average(self, kept, name):
        saved = checkpoint(kept.folder, name)
        assert saved["weights"] == kept.name
        assert ("optimizer_states" in saved) == (name == "last")
        state = {key: value for key, value in saved["state_dict"].items() if key in kept.recorder.raw[0]}
        assert_close(state, whole(kept.expected(saved["global_step"]), kept.run))

    def test_those_of_training_go_with_what_is_resumed(self, kept):
        saved = checkpoint(kept.folder)
        raw = {
            name: saved["current_model_state"][name]
            for name in kept.recorder.raw[-1]
            if not name.endswith(".unused")
        }
        assert_equal(
            raw, {name: torch.from_numpy(v) for name, v in whole(kept.recorder.raw[-1], kept.run).items()}
        )
        assert saved["averaging_state"]["n_averaged"] == {"swa": 19, "ema": 20}[kept.name]
        assert "current_model_state" not in checkpoint(kept.folder, "best")

    def test_it_says_so(self, kept):
        assert kept.metrics["weights"] == kept.name
        assert load_bundle(kept.folder / "model").training["weights"] == kept.name

    def test_tested_and_exported_weights_are_the_average(self, kept):
        assert_close(weights(kept.run.module), kept.expected(kept.step))
        state = load_bundle(kept.folder / "model").classifier.state_dict()
        state = {f"classifier.{name}": value for name, value in state.items()}
        expected = whole(kept.expected(kept.step), kept.run)
        assert_close({name: state[name] for name in expected}, expected)
        assert (
            difference(
                {name: state[name] for name in expected}, whole(kept.recorder.raw[kept.step - 1], kept.run)
            )
            > 1e-4
        )

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_the_reloaded_folder_gives_what_was_reported(self, kept, reviews, split):
        logits, labels = reloaded_logits(kept.folder, reviews, split)
        reported = kept.metrics["val" if split == "validation" else "test"]
        assert reported["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-6)
        assert reported["accuracy"] == pytest.approx(
            (logits.argmax(1) == labels).double().mean().item(), abs=1e-6
        )


def test_at_the_end_of_training_the_average_is_there(tmp_path, tiny_encoder, reviews):
    """Without a best checkpoint it is what is kept; it is validated anew."""
    run, recorder, metrics = finished(tmp_path, tiny_encoder, reviews, *SWA, LAST)
    assert (metrics["weights"], metrics["checkpoint"]["path"]) == ("swa", None)
    assert_close(weights(run.module), mean(recorder.raw[4:]))
    assert_equal(recorder.validated[20], weights(run.module))
