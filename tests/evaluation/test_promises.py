"""Abstention, conformal sets, calibration and baselines."""

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score

from bert_ft.errors import ConfigError
from bert_ft.evaluation.abstention import TooFewRowsError, abstention, precision_bound, rows_needed
from bert_ft.evaluation.baseline import frequent_labels, largest_class, mean_shares, training_mean
from bert_ft.evaluation.calibration import calibration
from bert_ft.evaluation.conformal import conformal_sets
from bert_ft.evaluation.conformal import rows_needed as rows_needed_for_sets
from bert_ft.tasks.confidence import confidence_scores

WRONG = [150, 330, 390, 420, 450, 470, 490, 500, 520, 530, 540, 550, 560, 570, 575, 580, 585]
WRONG += [590, 592, 594, 596, 598]  # places of the wrong rows, by falling confidence


def test_too_few_rows_for_a_promise():
    confidence = 0.999 - 0.001 * np.arange(60)
    with pytest.raises(
        TooFewRowsError, match=r"abstain.precision: .* 0.98 needs at least 149 .* found 60; 0.951"
    ) as error:
        abstention(confidence, np.ones(60, bool), 0.98)
    assert error.value.needed == rows_needed(0.98) == 149
    assert rows_needed(0.98, 0.975) == 183
    assert rows_needed(0.95) == 59
    found = abstention(confidence, np.ones(60, bool), 0.95)
    assert (found.kept, found.coverage, found.wrong) == (60, 1, 0)
    assert found.proven >= 0.95
    with pytest.raises(TooFewRowsError, match="found 0; there are no validation rows"):
        abstention(np.array([]), np.array([], bool), 0.9)


def test_the_sequence_ends_before_the_first_set_that_fails():
    confidence, right = 0.9999 - 0.0005 * np.arange(600), ~np.isin(np.arange(600), WRONG)
    order = np.random.default_rng(0).permutation(600)
    found = abstention(confidence[order], right[order], 0.98)
    assert (found.kept, found.wrong) == (150, 0)
    assert found.threshold == confidence[149]
    assert (confidence >= found.threshold).sum() == 150
    assert "150 of 600 validation rows (25%)" in found.sentence()
    assert precision_bound(150, 150) == pytest.approx(0.05 ** (1 / 150))


def test_equal_confidences_are_answered_together():
    confidence = np.repeat([0.9, 0.8], [200, 100])
    right = np.arange(300) < 250
    assert abstention(confidence, right, 0.95).kept == 200
    with pytest.raises(TooFewRowsError, match=r"of the surest 300 .* 50 are wrong.*; 0\.79 is possible"):
        abstention(np.ones(300), right, 0.95)
    assert abstention(np.ones(300), right, 0.79).kept == 300
    with pytest.raises(TooFewRowsError, match="no promise is possible"):
        abstention(np.ones(300), np.zeros(300, bool), 0.95)


@pytest.mark.parametrize("promise", [0, 1, 1.5])
def test_promises_that_nobody_can_keep(promise):
    with pytest.raises(ConfigError, match=r"abstain.risk: .* between 0 and 1"):
        abstention(np.ones(300), np.ones(300, bool), promise, key="abstain.risk")
    with pytest.raises(ConfigError, match=r"abstain.sets: .* between 0 and 1"):
        conformal_sets(np.ones(300), promise)


def test_conformal_sets():
    scores = np.random.default_rng(0).random(99) ** 3
    found = conformal_sets(scores, 0.9)
    assert found.quantile == np.sort(scores)[89]
    assert conformal_sets(scores[:19], 0.95).quantile == scores[:19].max()
    with pytest.raises(
        TooFewRowsError, match=r"abstain.sets: 0.95 needs at least 19 .* found 18; .* all labels"
    ):
        conformal_sets(scores[:18], 0.95)
    assert [rows_needed_for_sets(share) for share in (0.9, 0.95, 0.99)] == [9, 19, 99]


def test_labels_of_a_set():
    rule = conformal_sets(np.append(np.full(90, 0.8331), np.full(9, 0.9)), 0.9)
    probabilities = np.array([[0.97, 0.02, 0.01], [0.5, 0.45, 0.05], [0.34, 0.33, 0.33]])
    assert rule.sets(probabilities).tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert not conformal_sets(np.full(99, 0.1), 0.9).sets(probabilities)[1:].any()


MIXED = np.repeat([1.0, 0.96, 0.62], [30, 20, 10]), np.repeat([1, 0, 1, 1, 0], [27, 3, 20, 5, 5]) == 1


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [([0.97, 1.0], [1, 0], 0.485), ([1.0] * 20, [0] * 20, 1.0), (*MIXED, 0.0567)],
)
def test_confidences_of_exactly_one(confidence, right, error):
    confidence, right = np.array(confidence), np.array(right, bool)
    found = calibration(confidence, right)
    assert found.error == pytest.approx(error, abs=1e-4)
    assert found.debiased <= found.error
    # the monitor's: two classes, whose second is right where the first isn't
    logits = torch.from_numpy(np.log(np.stack([confidence, 1 - confidence], 1).clip(1e-300)))
    labels = torch.from_numpy(np.where(right, 0, 1))
    scalars = confidence_scores(logits, logits.argmax(1), labels, "ab", 15)
    assert scalars["confidence/ece"] == pytest.approx(found.error, abs=1e-9)


def test_chance_is_taken_from_the_calibration_error():
    rng = np.random.default_rng(0)
    plain, debiased = [], []
    for _ in range(100):
        confidence = rng.uniform(0.5, 1, size=200)
        found = calibration(confidence, rng.random(200) < confidence)  # perfectly calibrated
        plain.append(found.error)
        debiased.append(found.debiased)
    assert np.mean(debiased) < np.mean(plain) / 2
    certain = rng.uniform(0.9, 1, size=2000)
    assert calibration(certain, rng.random(2000) < 0.5).debiased == pytest.approx(0.45, abs=0.04)
    assert calibration(np.array([0.9]), np.array([True])).debiased is None


def test_always_the_largest_class_of_training():
    truth = np.repeat([0, 1], [8, 12])
    found = largest_class([54, 6], truth, ["ham", "spam"])
    assert found.guess == "always ham"
    assert found.values == {"accuracy": pytest.approx(0.40), "f1_macro": pytest.approx(0.2857, abs=1e-4)}
    dummy = DummyClassifier().fit(np.zeros((60, 1)), np.repeat([0, 1], [54, 6])).predict(np.zeros((20, 1)))
    assert found.values["f1_macro"] == f1_score(truth, dummy, average="macro")
    grades = largest_class([1, 5, 2], np.array([0, 1, 2, 2]), "123", grades=True)
    assert grades.values == {"quadratic_kappa": 0, "mae": 0.75, "accuracy": 0.25}


def test_guessing_other_targets():
    truth = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0]], bool)
    found = frequent_labels([40, 12, 31], 60, truth, "abc")
    assert (found.guess, found.values["subset_accuracy"]) == ("always a, c", pytest.approx(1 / 3))
    assert frequent_labels([10, 12, 3], 60, truth, "abc").guess == "always b"
    mean = training_mean(203_413.93, np.array([100_000.0, 300_000.0]))
    assert mean.values["mae"] == 100_000
    assert mean.values["r2"] < 0
    votes = mean_shares(np.array([0.75, 0.25]), np.array([[0.75, 0.25], [0.5, 0.5]]))
    assert votes.values["kl"] == pytest.approx((0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(2)) / 2)
