"""Confidence against scikit-learn, and loops in numpy."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss
from torch.nn import functional as F

from bert_ft.nn.confidence import brier_score, finite_rows, highest_losses, right_and_wrong

CLASSES = 4


def random_rows(num_rows=50, seed=0, classes=CLASSES):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(scale=2, size=(num_rows, classes)))
    return logits, torch.from_numpy(rng.integers(classes, size=num_rows))


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


class TestBrierScore:
    @pytest.mark.parametrize("classes", [2, CLASSES])
    def test_equals_scikit_learn(self, classes):
        logits, labels = random_rows(classes=classes)
        probabilities = softmax(logits.numpy())
        expected = brier_score_loss(labels, probabilities, labels=range(classes), scale_by_half=False)
        assert float(brier_score(torch.from_numpy(probabilities), labels)) == pytest.approx(
            expected, rel=1e-12
        )

    def test_ends_of_its_range(self):
        labels = torch.tensor([0, 2])
        certain = torch.eye(3, dtype=torch.float64)
        assert brier_score(certain[labels], labels) == 0
        assert brier_score(certain[(labels + 1) % 3], labels) == 2


def test_right_and_wrong_equal_a_loop():
    logits, labels = random_rows()
    probabilities = softmax(logits.numpy())
    parts = {True: [], False: []}
    for row, label in zip(probabilities, labels.tolist(), strict=True):
        parts[int(row.argmax()) == label].append(row.max())
    given = torch.from_numpy(probabilities)
    right, wrong = right_and_wrong(given, given.argmax(1), labels)
    assert len(right)
    assert len(wrong)
    assert right.tolist() == parts[True]
    assert wrong.tolist() == parts[False]


class TestHighestLosses:
    def test_equal_a_loop(self):
        logits, labels = random_rows()
        losses = -np.log(softmax(logits.numpy())[np.arange(50), labels])
        positions, values = highest_losses(F.cross_entropy(logits, labels, reduction="none"), 7)
        assert positions.tolist() == sorted(range(50), key=lambda row: -losses[row])[:7]
        np.testing.assert_allclose(values, losses[positions], rtol=1e-12)

    def test_equal_losses_keep_their_order(self):
        for num_rows in (40, 50):  # as many as there are, or more
            positions, values = highest_losses(torch.zeros(40), num_rows)
            assert positions.tolist() == list(range(40))
            assert values.shape == (40,)


def test_finite_rows():
    logits = torch.tensor([[0.0, 1], [float("nan"), 1], [0, float("inf")], [float("-inf"), 0], [1e30, 0]])
    assert finite_rows(logits).tolist() == [True, False, False, False, True]
