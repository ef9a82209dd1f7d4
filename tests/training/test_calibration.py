"""The temperature of a run: fitted on validation rows, in the saved weights, and used only if it helps."""

import csv
import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.special import log_softmax, xlogy
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import pipeline

from bert_ft.models.last_layer import divide_logits, ends_linear
from bert_ft.nn.head import ResidualHead
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.calibration import fit_temperature

from .running import reloaded_logits, train

CLASSES = SingleLabel(("a", "b", "c"))


def drawn(num_rows: int, temperature: float, seed: int = 0):
    """Logits of a model that is too sure of itself by a factor, and labels drawn from its true probabilities."""
    rng = np.random.default_rng(seed)
    true = rng.normal(scale=2, size=(num_rows, 3))
    probabilities = np.exp(log_softmax(true, axis=1))
    labels = np.array([rng.choice(3, p=row) for row in probabilities])
    return (true * temperature).astype(np.float32), labels


def test_it_has_the_lowest_loss_of_a_fine_grid():
    logits, labels = drawn(200, 2.0)
    grid = np.exp(np.linspace(np.log(0.1), np.log(10), 20_001))
    rows = np.arange(len(labels))
    losses = [-log_softmax(logits.astype(float) / each, axis=1)[rows, labels].mean() for each in grid]
    found = fit_temperature(CLASSES, logits, labels)
    assert found.is_used
    assert found.temperature == pytest.approx(grid[np.argmin(losses)], rel=5e-4)
    assert found.loss == pytest.approx(min(losses), abs=1e-6)
    assert found.loss_before == pytest.approx(
        cross_entropy(torch.tensor(logits), torch.tensor(labels)).item()
    )


def test_a_model_that_is_too_sure():
    draw = random.Random(108)
    labels = np.arange(60) % 3
    logits = np.array([[round(draw.gauss(0, 2.5) + 3.0 * (j == y), 3) for j in range(3)] for y in labels])
    found = fit_temperature(CLASSES, logits, labels)
    assert found.is_used
    assert found.temperature == pytest.approx(2.272, abs=5e-4)
    assert (found.loss_before, found.loss) == pytest.approx((0.91508, 0.72453), abs=5e-6)
    assert (logits.argmax(1) == labels).mean() == pytest.approx(0.6833, abs=5e-5)


def test_it_finds_the_true_temperature():
    assert fit_temperature(CLASSES, *drawn(20_000, 2.0)).temperature == pytest.approx(2, rel=0.05)
    assert fit_temperature(CLASSES, *drawn(20_000, 0.5)).temperature == pytest.approx(0.5, rel=0.05)


def test_label_sets():
    """One temperature for all decisions; the independent loss is written with xlogy."""
    rng = np.random.default_rng(1)
    logits = rng.normal(scale=6, size=(400, 2)).astype(np.float32)
    targets = rng.random((400, 2)) < 1 / (1 + np.exp(-logits / 3))
    found = fit_temperature(MultiLabel(("a", "b")), logits, targets)
    assert found.temperature == pytest.approx(3, rel=0.2)
    p = 1 / (1 + np.exp(-logits.astype(float) / found.temperature))
    assert found.loss == pytest.approx(-(xlogy(targets, p) + xlogy(~targets, 1 - p)).mean())


@pytest.mark.parametrize(
    "given",
    [
        # all rows right: the loss falls with the temperature without end
        (np.eye(3, dtype=np.float32)[np.arange(60) % 3] * 5, np.arange(60) % 3),
        drawn(200, 1.0),  # within chance of 1
    ],
    ids=["all right", "calibrated"],
)
def test_it_isnt_used_where_it_says_nothing(given):
    assert not fit_temperature(CLASSES, *given).is_used


def test_the_last_layer_has_it():
    head = ResidualHead(8, 3, [8], 0.0)
    classifier = nn.Module()
    classifier.head = head
    features = torch.randn(4, 8)
    before = head(features)
    divide_logits(classifier, 2.5)
    torch.testing.assert_close(head(features), before / 2.5)
    assert ends_linear(classifier)
    assert not ends_linear(SimpleNamespace(head=nn.Identity()))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Two classes of which a third of the labels is wrong, in all splits."""
    folder, draw = tmp_path_factory.mktemp("noisy"), random.Random(0)
    files = {}
    for name, count in (("train", 48), ("validation", 120), ("test", 60)):
        files[name] = folder / f"{name}.csv"
        with files[name].open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for row in range(count):
                words = draw.choices(["good", "fine", "great", "bad", "dull", "poor"], k=6)
                is_good = draw.random() < 0.5 if draw.random() < 0.66 else None
                label = draw.choice(["yes", "no"]) if is_good is None else ("yes" if is_good else "no")
                kept = [
                    word
                    for word in words
                    if is_good is None or (word in ("good", "fine", "great")) == is_good
                ]
                writer.writerow([" ".join([*kept, str(row)]), label])
    return files


@pytest.mark.slow
def test_a_run_that_is_too_sure(tmp_path, tiny_encoder, noisy):
    """The saved folder is calibrated for every tool that loads it; the checkpoint and the predictions are as without.

    The scores are those of float32, which prediction computes in, whatever training did.
    """
    settings = ["model=bert_linear", "trainer.max_epochs=20", "optimizer.lr=6e-3", "trainer.precision=bf16"]
    _, metrics = train(tmp_path / "on", tiny_encoder, noisy, *settings, "calibrate=true")
    _, plain = train(tmp_path / "off", tiny_encoder, noisy, *settings)
    found = metrics["calibration"]
    assert found["is_used"]
    assert found["temperature"] > 1
    assert found["loss"] < found["loss_before"] == pytest.approx(plain["val"]["loss"], rel=0.02)
    assert metrics["val"] == plain["val"]
    assert "calibration" not in plain
    assert metrics["test"]["accuracy"] == plain["test"]["accuracy"]
    assert metrics["test"]["loss"] < plain["test"]["loss"]

    logits, labels = reloaded_logits(tmp_path / "on", noisy, "validation")
    uncalibrated, _ = reloaded_logits(tmp_path / "off", noisy, "validation")
    torch.testing.assert_close(logits * found["temperature"], uncalibrated, atol=1e-5, rtol=1e-5)
    assert cross_entropy(logits, labels).item() == pytest.approx(found["loss"], abs=1e-5)
    kept = load_file(tmp_path / "on/model/validation_scores.safetensors")
    np.testing.assert_allclose(kept["logits"], logits, atol=1e-5)
    assert kept["targets"].tolist() == labels.tolist()

    with noisy["validation"].open() as file:
        texts = [row["text"] for row in csv.DictReader(file)][:20]
    scored = pipeline("text-classification", str(tmp_path / "on/model"), top_k=None)(texts)
    names = json.loads((tmp_path / "on/model/config.json").read_text())["id2label"]
    for row, scores in enumerate(scored):
        by_name = {each["label"]: each["score"] for each in scores}
        expected = logits[row].softmax(0)
        assert by_name == pytest.approx({names[str(i)]: float(p) for i, p in enumerate(expected)}, abs=1e-5)

    # trained further, it starts from the weights without the temperature
    best = {name: (tmp_path / name / "checkpoints/best.ckpt") for name in ("on", "off")}
    states = {name: torch.load(path, weights_only=False)["state_dict"] for name, path in best.items()}
    assert all(torch.equal(value, states["off"][name]) for name, value in states["on"].items())
