"""Intervals against the exact ones of scipy, and on files that tempt to pretend."""

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import f1_score

from bert_ft.evaluation.intervals import class_intervals, interval, label_intervals, proportion
from bert_ft.evaluation.metrics import class_metrics, grade_metrics, label_set_metrics, number_metrics, share
from bert_ft.evaluation.resampling import smoothed


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [
        (1, 1, 0.0250, 1),
        (10, 10, 0.6915, 1),
        (0, 12, 0, 0.2646),
        (60, 60, 0.9404, 1),
        (57, 60, 0.8608, 0.9896),
    ],
)
def test_shares_of_few_rows(right, of, low, high, rng):
    found = proportion(right, of)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert interval(share("accuracy", np.arange(of) < right), rng=rng) == found
    assert str(found) == f"{right / of:.4f} [{found.low:.4f}, {found.high:.4f}]"


def test_no_row_has_no_interval():
    assert proportion(0, 0).reason == "no row"


ONE_CLASS_OF_TWO_ROWS = np.array([[36, 4, 0], [3, 15, 0], [1, 0, 1]])


def rows_of(counts):
    truth, predicted = np.nonzero(counts)
    times = counts[truth, predicted]
    return np.repeat(truth, times), np.repeat(predicted, times)


def test_a_class_of_two_rows(rng):
    truth, predicted = rows_of(ONE_CLASS_OF_TWO_ROWS)
    found = interval(class_metrics(truth, predicted, 3)["f1_macro"], rng=rng)
    assert found.value == pytest.approx(0.7925, abs=1e-4)
    assert (found.low, found.high) == (pytest.approx(0.52, abs=0.03), pytest.approx(0.95, abs=0.03))
    assert found.without_class.keys() == {2}
    assert found.without_class[2] / found.num_resamples == pytest.approx((58 / 60) ** 60, abs=0.03)  # 13%
    rare = class_intervals(ONE_CLASS_OF_TWO_ROWS, "abc")[2]
    assert (rare.rows, rare.predicted, rare.recall.value) == (2, 1, 0.5)
    assert (rare.recall.low, rare.recall.high) == (
        pytest.approx(0.0126, abs=1e-4),
        pytest.approx(0.9874, abs=1e-4),
    )
    assert (rare.precision.low, rare.precision.high) == (pytest.approx(0.0250, abs=1e-4), 1)
    assert rare.f1.value == pytest.approx(2 / 3)
    assert 0 < rare.f1.low < 2 / 3 < rare.f1.high < 1


def test_classes_without_rows_or_predictions():
    counts = np.array([[2, 0, 1], [0, 0, 0], [0, 0, 0]])
    _, absent, only_predicted = class_intervals(counts, ["a", "b", "c"])
    assert absent.recall.reason == absent.precision.reason == absent.f1.reason == "no row"
    assert only_predicted.recall.low is None
    assert (only_predicted.precision.value, only_predicted.f1.value) == (0, 0)
    assert label_intervals(np.array([[2, 3, 2], [0, 0, 0], [0, 0, 1]]), ["a", "b", "c"])[2] == only_predicted


def test_documents_of_ten_sentences(rng):
    hits = np.concatenate([np.arange(10) < right for right in (10, 9, 10, 1, 0, 8)])
    documents = np.repeat(np.arange(6), 10)
    accuracy = share("accuracy", hits)
    by_documents, by_rows = interval(accuracy, rng=rng, clusters=documents), interval(accuracy, rng=rng)
    assert by_documents.caution == "6 groups are few: the interval is too narrow"
    assert by_rows.caution == ""
    assert by_documents.value == pytest.approx(0.6333, abs=1e-4)
    assert (by_documents.low, by_documents.high) == (
        pytest.approx(0.30, abs=0.03),
        pytest.approx(0.95, abs=0.03),
    )
    assert (by_rows.low, by_rows.high) == (pytest.approx(0.50, abs=0.03), pytest.approx(0.75, abs=0.01))


def test_one_document_and_documents_that_are_all_right(rng):
    one = interval(share("accuracy", np.arange(20) < 15), rng=rng, clusters=np.zeros(20, int))
    assert (one.low, one.high, one.reason) == (None, None, "all rows belong to one group")
    flawless = interval(share("accuracy", np.ones(60, bool)), rng=rng, clusters=np.repeat(np.arange(6), 10))
    assert (flawless.low, flawless.high) == (proportion(6, 6).low, 1)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_a_flawless_model_has_an_interval_with_a_width(num_classes, rng):
    truth = np.arange(60) % num_classes
    for metrics in (class_metrics, grade_metrics):
        for metric in metrics(truth, truth, num_classes).values():
            found = interval(metric, rng=rng)
            assert found.low < found.high, metric.name
            assert found.low <= found.value <= found.high <= metric.highest


def test_one_class_alone_is_said(rng):
    found = interval(class_metrics(np.zeros(9, int), np.zeros(9, int), 3)["f1_macro"], rng=rng)
    assert (found.low, found.reason) == (None, "too few rows, or rows too alike: resamples don't differ")


def test_numbers_that_are_all_equal_and_perfect_ones(rng):
    constant = number_metrics(np.full(9, 3.5), np.arange(9.0))
    assert interval(constant["pearson"], rng=rng).reason == "not defined on these rows"
    assert interval(constant["mae"], rng=rng).low < constant["mae"].value
    perfect = interval(number_metrics(np.arange(9.0), np.arange(9.0))["mae"], rng=rng)
    assert (perfect.low, perfect.value) == (None, 0)
    two = interval(number_metrics(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 2.5]))["r2"], rng=rng)
    assert two.num_undefined > 0
    assert np.isfinite([two.low, two.high]).all()


def test_resampled_rows_agree_with_scipy(rng):
    truth = rng.normal(size=80)
    predicted = truth + rng.normal(size=80)
    ours = interval(number_metrics(truth, predicted)["mae"], rng=rng, num_resamples=20_000)
    scipys = bootstrap(
        (np.abs(truth - predicted),), np.mean, method="percentile", n_resamples=20_000, rng=rng
    )
    assert ours.low == pytest.approx(scipys.confidence_interval.low, abs=0.01)
    assert ours.high == pytest.approx(scipys.confidence_interval.high, abs=0.01)


def test_the_seed_decides(rng):
    truth = rng.random((40, 3)) < 0.4
    scores = np.clip(truth * 0.3 + rng.random((40, 3)) * 0.7, 0, 1)
    for metric in label_set_metrics(truth, scores > 0.5, scores).values():
        first, second = (interval(metric, rng=np.random.default_rng(seed)) for seed in (1, 1))
        assert first == second
        assert first.low < first.value < first.high, metric.name


def test_smoothing_keeps_the_shares_of_the_classes():
    found = smoothed(ONE_CLASS_OF_TWO_ROWS.astype(float))
    np.testing.assert_allclose(found.sum(axis=1), np.array([40, 18, 2]) / 60)
    assert (found > 0).all()


def test_ids_of_groups_are_only_names():
    hits, ids = np.arange(60) % 7 > 0, np.repeat([900, 7, 55], 20)
    found = [
        interval(share("accuracy", hits), rng=np.random.default_rng(0), clusters=clusters)
        for clusters in (ids, np.unique(ids, return_inverse=True)[1])
    ]
    assert found[0] == found[1]


def test_resampled_counts_agree_with_resampled_rows(rng):
    """Of scikit-learn's macro F1, where smoothing matters little."""
    truth = rng.integers(3, size=300)
    predicted = np.where(rng.random(300) < 0.8, truth, rng.integers(3, size=300))
    found = interval(class_metrics(truth, predicted, 3)["f1_macro"], rng=rng)
    drawn = [rng.integers(300, size=300) for _ in range(300)]
    scores = [f1_score(truth[rows], predicted[rows], average="macro") for rows in drawn]
    np.testing.assert_allclose([found.low, found.high], np.quantile(scores, [0.025, 0.975]), atol=0.015)
