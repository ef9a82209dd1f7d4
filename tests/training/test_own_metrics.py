"""Metrics from outside of the package: each counts for itself, and any of them can be the objective."""

import pytest
from sklearn.metrics import cohen_kappa_score

from .own_classes import TRUST
from .running import reloaded_logits, train

pytestmark = pytest.mark.slow


def test_metrics_whose_first_batches_agree_stay_apart(tmp_path, tiny_encoder, reviews, package):
    """torchmetrics would let metrics with equal states share them from the first batch on."""
    own = "my_package.parts.ErrorRate"
    _, metrics = train(
        tmp_path,
        tiny_encoder,
        reviews,
        "trainer.max_epochs=2",
        "data.eval_batch_size=1",
        f"+metrics.all={{_target_:{own}}}",
        f"+metrics.first={{_target_:{own},of_label:0}}",
        f"+metrics.second={{_target_:{own},of_label:1}}",
        TRUST,
    )
    for split in (metrics["val"], metrics["test"]):
        assert split["all"] == pytest.approx(1 - split["accuracy"], abs=1e-6)
        assert split["first"] + split["second"] == pytest.approx(split["all"], abs=1e-6)
    assert metrics["test"]["first"] != metrics["test"]["second"]


def test_the_objective_can_be_any_torchmetric(tmp_path, tiny_encoder, reviews):
    """Cohen's kappa against scikit-learn, on what the bundle predicts."""
    objective, metrics = train(
        tmp_path,
        tiny_encoder,
        reviews,
        "trainer.max_epochs=2",
        "+metrics.kappa._target_=torchmetrics.classification.MulticlassCohenKappa",
        "+metrics.unused=null",
        "objective.metric=val/kappa",
    )
    assert objective == metrics["val"]["kappa"]
    logits, labels = reloaded_logits(tmp_path, reviews, "test")
    expected = cohen_kappa_score(labels, logits.argmax(dim=1))
    assert metrics["test"]["kappa"] == pytest.approx(expected, abs=1e-6)
