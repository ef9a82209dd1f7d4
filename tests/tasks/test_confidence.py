import numpy as np
import pytest
import sklearn.metrics

from bert_ft.tasks.confidence import class_scores


@pytest.mark.parametrize("num_classes", [4, 43])
@pytest.mark.parametrize("predicted", [slice(None), slice(2), slice(1)], ids=["all", "two", "one"])
@pytest.mark.parametrize("present", [slice(None), slice(1, 3)], ids=["all", "two"])
def test_scores_are_those_of_scikit_learn(num_classes, present, predicted):
    """With NaN for classes that have no rows or no predictions."""
    rng = np.random.default_rng(0)
    classes = np.arange(num_classes)
    labels, predictions = rng.choice(classes[present], 200), rng.choice(classes[predicted], 200)
    counts = sklearn.metrics.confusion_matrix(labels, predictions, labels=classes)
    expected = sklearn.metrics.precision_recall_fscore_support(
        labels, predictions, labels=classes, zero_division=np.nan
    )
    for found, wanted in zip(
        class_scores(counts), expected, strict=False
    ):  # it has the rows of each class, too
        np.testing.assert_allclose(found, wanted)


def test_scores_of_classes_without_rows_or_predictions_are_not_defined():
    scores = class_scores(np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    np.testing.assert_array_equal(scores.precision, [0.5, np.nan, 0, np.nan])
    np.testing.assert_array_equal(scores.recall, [0.5, 0, np.nan, np.nan])
    np.testing.assert_array_equal(scores.f1, [0.5, 0, 0, np.nan])
