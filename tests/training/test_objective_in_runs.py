"""Losses and their terms in whole runs: what is logged, what is judged by, and which settings are refused."""

import csv

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from bert_ft.config.build.fine_tuning import build_fine_tuning
from bert_ft.config.check import problems
from bert_ft.data.prepare import prepare
from bert_ft.data.sources import Files
from bert_ft.errors import ConfigError
from bert_ft.models.bundle import load_bundle
from bert_ft.nn.losses import Focal
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.objective import LossTerms
from tests.config.test_conf import compose

from .running import small_run, train

EPOCH = "trainer.max_epochs=1"


def recorded(folder, column="train/loss") -> list[float]:
    with (folder / "csv/version_0/metrics.csv").open() as file:
        return [float(row[column]) for row in csv.DictReader(file) if row.get(column)]


@pytest.fixture(scope="module")
def plain_losses(tmp_path_factory, tiny_encoder, reviews):
    folder = tmp_path_factory.mktemp("plain")
    train(folder, tiny_encoder, reviews, EPOCH)
    return recorded(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "columns"),
    [
        (["loss=r_drop"], {"labels", "r_drop"}),
        (["loss=supervised_contrastive"], {"labels", "contrastive"}),
        (["loss=adversarial"], {"labels", "adversarial"}),
        (["loss=adversarial", "data.max_tokens=64"], {"labels", "adversarial"}),
        (["loss=adversarial", "encoder.freeze_layers=1"], {"labels", "adversarial"}),
        (["loss=adversarial", "trainer.precision=16"], {"labels", "adversarial"}),
        (["loss=adversarial", "loss.r_drop_weight=1"], {"labels", "adversarial", "r_drop"}),
        (["loss=focal"], set()),
        (["loss.label_smoothing=0.3"], set()),
        (["loss.class_weights=balanced"], set()),
        (["loss.class_weights=[1.0,3.0]"], set()),
    ],
    ids=lambda value: " ".join(sorted(value)),
)
def test_runs_differ_in_training_and_are_judged_alike(
    tmp_path, tiny_encoder, reviews, plain_losses, overrides, columns
):
    """Whatever was minimized, what is reported is plain cross entropy, recomputed here from the saved folder."""
    _, metrics = train(tmp_path / "run", tiny_encoder, reviews, EPOCH, *overrides)
    losses = recorded(tmp_path / "run")
    assert len(losses) == len(plain_losses) == 10
    assert all(abs(loss - plain) > 1e-5 for loss, plain in zip(losses, plain_losses, strict=True))
    header = (tmp_path / "run/csv/version_0/metrics.csv").read_text().splitlines()[0].split(",")
    found = {name.removeprefix("train/loss_") for name in header if name.startswith("train/loss_")}
    assert found == columns | {"plain"}  # the minimized loss is another
    for name in columns:
        values = recorded(tmp_path / "run", f"train/loss_{name}")
        assert len(values) == 10
        assert min(values) > 0

    bundle = load_bundle(tmp_path / "run/model")
    splits = prepare(
        Files(**{f"{name}_file": str(path) for name, path in reviews.items()}).load(tmp_path),
        bundle.tokenizer,
        max_length=bundle.max_length,
        task=SingleLabel(),
        seed=0,
        cache_dir=tmp_path,
    ).splits
    tolerance = 0.02 if "trainer.precision=16" in overrides else 1e-6
    for split, reported in ((splits["validation"], metrics["val"]), (splits["test"], metrics["test"])):
        with torch.no_grad():
            logits = torch.cat([bundle.classifier(split[row]) for row in range(len(split))])
        expected = F.cross_entropy(logits, torch.from_numpy(split.labels)).item()
        assert reported["loss"] == pytest.approx(expected, abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=r_drop", "loss.r_drop_weight=0"],
        ["loss=supervised_contrastive", "loss.contrastive_weight=0"],
        ["loss=adversarial", "loss.adversarial_epsilon=0"],
        ["loss=adversarial", "loss.adversarial_weight=0"],
    ],
    ids=str,
)
def test_a_term_switched_off_leaves_no_trace(tmp_path, tiny_encoder, reviews, plain_losses, overrides):
    train(tmp_path, tiny_encoder, reviews, EPOCH, *overrides)
    assert recorded(tmp_path) == plain_losses


def objective_of(folder, encoder, files, *overrides):
    """The objective of a run that is built and not started."""
    return build_fine_tuning(small_run(folder, encoder, files, *overrides), folder).module.objective


def test_balanced_weights_are_those_of_the_training_rows(tmp_path, tiny_encoder, reviews):
    with reviews["train"].open() as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    expected = compute_class_weight("balanced", classes=np.array(["negative", "positive"]), y=labels)
    assert expected[0] != expected[1]
    objective = objective_of(tmp_path, tiny_encoder, reviews, "loss.class_weights=balanced")
    assert objective.loss.class_weights.tolist() == pytest.approx(expected.tolist())


def test_settings_reach_the_objective(tmp_path, tiny_encoder, reviews):
    objective = objective_of(
        tmp_path,
        tiny_encoder,
        reviews,
        "loss=focal",
        "loss.gamma=3",
        "loss.class_weights=[1.0,2.0]",
        "loss.contrastive_weight=0.1",
        "loss.contrastive_temperature=0.2",
        "loss.r_drop_weight=0.3",
        "loss.adversarial_epsilon=0.4",
        "loss.adversarial_weight=0.5",
    )
    assert (type(objective.loss), objective.loss.gamma) == (Focal, 3)
    assert objective.loss.class_weights.tolist() == [1.0, 2.0]
    assert objective.contrastive.temperature == 0.2
    assert objective.terms == LossTerms(0.1, 0.2, 0.3, 0.4, 0.5)


def test_another_number_of_class_weights(tmp_path, tiny_encoder, reviews):
    message = (
        r"loss\.class_weights=\[1\.0, 2\.0, 3\.0\]: 3 weights for the 2 labels negative, positive; give one"
    )
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, tiny_encoder, reviews, "loss.class_weights=[1.0,2.0,3.0]")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        (
            "loss=adversarial",
            "loss.adversarial_epsilon=1.0: perturbs word embeddings, which encoder.cache_frozen=true",
        ),
        (
            "data.augmentation.token_deletion_prob=0.1",
            "data.augmentation.token_deletion_prob=0.1: encoder.cache_frozen=true",
        ),
        (
            "data.augmentation.token_swap_prob=0.1",
            "data.augmentation.token_swap_prob=0.1: encoder.cache_frozen=true",
        ),
        (
            "data.augmentation.span_mask_ratio=0.1",
            "data.augmentation.span_mask_ratio=0.1: encoder.cache_frozen=true",
        ),
    ],
)
def test_kept_states_go_with_nothing_that_changes_their_input(override, key):
    cached = ["encoder.freeze_layers=1", "encoder.cache_frozen=true"]
    (found,) = problems(compose(*cached, override))
    assert key in found
    assert problems(compose(*cached)) == problems(compose(override)) == []


def test_such_a_run_is_refused(tmp_path, tiny_encoder, reviews):
    cached = ["encoder.freeze_layers=1", "encoder.cache_frozen=true"]
    with pytest.raises(ConfigError, match=r"loss\.adversarial_epsilon=1\.0: perturbs word embeddings"):
        train(tmp_path, tiny_encoder, reviews, "loss=adversarial", *cached)
