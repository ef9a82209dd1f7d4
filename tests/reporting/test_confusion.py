import numpy as np
import pytest
import sklearn.metrics

from bert_ft.reporting.confusion import class_scores, mistakes


@pytest.mark.parametrize("num_classes", [2, 5, 43])
def test_scores_are_those_of_scikit_learn(num_classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(num_classes, size=200)
    predictions = np.where(rng.random(200) < 0.7, labels, rng.integers(num_classes, size=200))
    classes = np.arange(num_classes)
    counts = sklearn.metrics.confusion_matrix(labels, predictions, labels=classes)
    expected = sklearn.metrics.precision_recall_fscore_support(
        labels, predictions, labels=classes, zero_division=np.nan
    )
    for found, wanted in zip(class_scores(counts), expected, strict=True):
        np.testing.assert_allclose(found, wanted)


def test_scores_of_classes_without_rows_or_predictions_are_not_defined():
    scores = class_scores(np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    np.testing.assert_array_equal(scores.precision, [0.5, np.nan, 0, np.nan])
    np.testing.assert_array_equal(scores.recall, [0.5, 0, np.nan, np.nan])
    np.testing.assert_array_equal(scores.f1, [0.5, 0, 0, np.nan])
    assert scores.support.tolist() == [2, 1, 0, 0]


def test_mistakes_by_frequency_and_then_in_the_order_of_the_labels():
    counts = np.array([[9, 2, 0], [5, 9, 2], [0, 0, 9]])
    assert mistakes(counts, most=10) == [(1, 0, 5), (0, 1, 2), (1, 2, 2)]
    assert mistakes(counts, most=2) == [(1, 0, 5), (0, 1, 2)]
    assert mistakes(np.eye(3, dtype=int), most=10) == []
