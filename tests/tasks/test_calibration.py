import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import multiclass_calibration_error

from bert_ft.tasks.calibration import NUM_BINS, reliability_bins
from bert_ft.tasks.confidence import confidence_scores, prediction_probabilities
from tests.reporting.synthetic import Size, validation_outputs


@pytest.fixture
def outputs():
    return validation_outputs(Size(num_classes=4, num_rows=500))


def test_prediction_probabilities(outputs):
    logits, labels = outputs
    top = prediction_probabilities(logits, labels)
    expected = softmax(logits.astype(float), axis=1)
    np.testing.assert_allclose(top.probabilities, expected.max(axis=1))
    np.testing.assert_array_equal(top.predictions, expected.argmax(axis=1))
    np.testing.assert_array_equal(top.is_correct, expected.argmax(axis=1) == labels)


def test_large_logits_do_not_overflow():
    top = prediction_probabilities(np.array([[3e4, -3e4], [0, 0]], dtype=np.float16), np.array([1, 0]))
    assert top.probabilities.tolist() == [1, 0.5]
    assert top.is_correct.tolist() == [False, True]


@pytest.mark.parametrize("num_bins", [1, 10, NUM_BINS])
def test_bins_are_those_of_scikit_learn(outputs, num_bins):
    top = prediction_probabilities(*outputs)
    bins = reliability_bins(top.probabilities, top.is_correct, num_bins)
    accuracy, confidence = calibration_curve(
        top.is_correct, top.probabilities, n_bins=num_bins, strategy="uniform"
    )
    filled = bins.counts > 0
    np.testing.assert_allclose(bins.accuracy[filled], accuracy)
    np.testing.assert_allclose(bins.confidence[filled], confidence)
    assert bins.counts.sum() == 500
    assert np.isnan(bins.accuracy[~filled]).all()


def test_error_is_that_of_torchmetrics(outputs):
    logits, labels = outputs
    probabilities = torch.from_numpy(softmax(logits.astype(float), axis=1))
    expected = multiclass_calibration_error(
        probabilities, torch.from_numpy(labels), 4, n_bins=NUM_BINS, norm="l1"
    )
    top = prediction_probabilities(logits, labels)
    assert reliability_bins(top.probabilities, top.is_correct).ece == pytest.approx(expected.item(), abs=1e-6)


def test_a_bin_holds_its_upper_edge():
    bins = reliability_bins(np.array([0.5, 0.51, 1.0]), np.array([True, False, True]), 2)
    assert bins.counts.tolist() == [1, 2]
    assert bins.ece == pytest.approx((0.5 + 2 * abs(0.755 - 0.5)) / 3)


def test_a_probability_of_exactly_one_is_in_the_last_bin_with_its_neighbors():
    """torchmetrics 1.9 gives it a bin of its own, where the errors of the two no longer cancel."""
    logits, labels = torch.tensor([[4.0, 0.0], [800.0, 0.0]], dtype=torch.float64), torch.tensor([0, 1])
    sure = 1 / (1 + np.exp(-4.0))
    scores = confidence_scores(logits, logits.argmax(1), labels, ("a", "b"), num_bins=15)
    assert scores["confidence/ece"] == pytest.approx((sure + 1) / 2 - 0.5)
