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
    expected,
    finished,
    mean,
    weights,
    whole,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[SWA, EMA], ids=["swa", "ema"])
def kept(request, tmp_path_factory, tiny_encoder, reviews):
    """A run whose best validation is one of averaged weights."""
    name = request.param[0].removeprefix("averaging=")
    folder = tmp_path_factory.mktemp(name)
    by_loss = ["objective.metric=val/loss", "objective.mode=min"]
    run, recorder, metrics = finished(folder, tiny_encoder, reviews, *request.param, *by_loss)
    return SimpleNamespace(
        folder=folder,
        run=run,
        recorder=recorder,
        metrics=metrics,
        expected=lambda step: expected(request.param, recorder.raw, step),
        name=name,
        step=metrics["checkpoint"]["step"],
    )


def test_validated_weights_are_the_average(kept):
    assert list(kept.recorder.validated) == [5, 10, 15, 20]
    for step, values in kept.recorder.validated.items():
        assert_close(values, kept.expected(step))
        if step > 5:  # where SWA has one step
            assert difference(values, kept.recorder.raw[step - 1]) > 1e-4


@pytest.mark.parametrize("name", ["best", "last"])
def test_saved_weights_are_the_average(kept, name):
    saved = checkpoint(kept.folder, name)
    assert saved["weights"] == kept.name
    assert ("optimizer_states" in saved) == ("current_model_state" in saved) == (name == "last")
    state = {key: value for key, value in saved["state_dict"].items() if key in kept.recorder.raw[0]}
    assert_close(state, whole(kept.expected(saved["global_step"]), kept.run))


def test_weights_of_training_are_saved_for_a_resume(kept):
    saved = checkpoint(kept.folder)
    raw = whole(kept.recorder.raw[-1], kept.run)
    found = {name: saved["current_model_state"][name] for name in raw}
    assert_equal(found, {name: torch.from_numpy(value) for name, value in raw.items()})
    assert saved["averaging_state"]["n_averaged"] == {"swa": 16, "ema": 20}[kept.name]


def test_tested_and_exported_weights_are_the_average(kept):
    assert_close(weights(kept.run.module), kept.expected(kept.step))
    bundle = load_bundle(kept.folder / "model")
    assert kept.metrics["weights"] == bundle.training["weights"] == kept.name
    average = whole(kept.expected(kept.step), kept.run)
    state = {f"classifier.{name}": value for name, value in bundle.classifier.state_dict().items()}
    state = {name: state[name] for name in average}
    assert_close(state, average)
    assert difference(state, whole(kept.recorder.raw[kept.step - 1], kept.run)) > 1e-4


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_reloaded_folder_gives_the_reported_metrics(kept, reviews, split):
    logits, labels = reloaded_logits(kept.folder, reviews, split)
    reported = kept.metrics["val" if split == "validation" else "test"]
    assert reported["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-6)
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    assert reported["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_without_a_best_checkpoint_the_average_is_kept_and_validated(tmp_path, tiny_encoder, reviews):
    run, recorder, metrics = finished(tmp_path, tiny_encoder, reviews, *SWA, LAST)
    assert (metrics["weights"], metrics["checkpoint"]["path"]) == ("swa", None)
    assert_close(weights(run.module), mean(recorder.raw[4:]))
    assert_equal(recorder.validated[20], weights(run.module))
