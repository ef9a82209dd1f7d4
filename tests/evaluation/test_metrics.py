"""Metrics of resamples are those of scikit-learn and scipy on the repeated rows."""

import warnings

import numpy as np
import pytest
from scipy.stats import entropy, pearsonr, spearmanr
from sklearn import metrics as sklearn_metrics

from bert_ft.evaluation import metrics

SEEDS = range(4)


def weights_of(num_rows, rng):
    """Weights of every row once, and of three resamples, with the rows of each."""
    drawn = [np.arange(num_rows), *(rng.integers(num_rows, size=num_rows) for _ in range(3))]
    return np.stack([np.bincount(rows, minlength=num_rows) for rows in drawn]).astype(float), drawn


def check(found, references, rng):
    """``references``: metric → function of row indices."""
    num_rows = len(next(iter(found.values())))
    weights, drawn = weights_of(num_rows, rng)
    assert found.keys() == references.keys()
    for name, metric in found.items():
        totals = np.zeros((len(drawn), metric.num_units))
        for total, row_weights in zip(totals, weights, strict=True):
            np.add.at(total, metric.units, row_weights)
        expected = [references[name](rows) for rows in drawn]
        np.testing.assert_allclose(metric.of_weights(totals), expected, rtol=1e-9, atol=1e-12, err_msg=name)
        assert metric.value == pytest.approx(expected[0], abs=1e-12), name


@pytest.mark.parametrize("seed", SEEDS)
def test_classes(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(4, size=(2, 30))
    truth[truth == 3] = seed % 4  # a class may have predictions alone
    check(
        metrics.class_metrics(truth, predicted, 6),
        {
            "accuracy": lambda rows: sklearn_metrics.accuracy_score(truth[rows], predicted[rows]),
            "f1_macro": lambda rows: sklearn_metrics.f1_score(
                truth[rows], predicted[rows], average="macro", zero_division=0
            ),
        },
        rng,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_grades(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(2, 7, size=(2, 30))
    check(
        metrics.grade_metrics(truth, predicted, 10),
        {
            "quadratic_kappa": lambda rows: sklearn_metrics.cohen_kappa_score(
                truth[rows], predicted[rows], labels=range(10), weights="quadratic"
            ),
            "mae": lambda rows: sklearn_metrics.mean_absolute_error(truth[rows], predicted[rows]),
            "accuracy": lambda rows: sklearn_metrics.accuracy_score(truth[rows], predicted[rows]),
        },
        rng,
    )


def test_a_single_grade_has_no_agreement_beyond_chance():
    assert metrics.grade_metrics(np.full(5, 2), np.full(5, 2), 4)["quadratic_kappa"].value == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_label_sets(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((30, 4)) < [0.5, 0.3, 0.1, 0]
    scores = rng.random((30, 4)).round(1)  # with ties
    predicted = scores > 0.6

    def f1(average):
        return lambda rows: sklearn_metrics.f1_score(
            truth[rows], predicted[rows], average=average, zero_division=0
        )

    def average_precision(rows):
        labels = np.flatnonzero(truth[rows].any(axis=0))
        return np.mean(
            [
                sklearn_metrics.average_precision_score(truth[rows, label], scores[rows, label])
                for label in labels
            ]
        )

    check(
        metrics.label_set_metrics(truth, predicted, scores),
        {f"f1_{average}": f1(average) for average in ("micro", "macro", "samples")}
        | {
            "average_precision": average_precision,
            "subset_accuracy": lambda rows: sklearn_metrics.accuracy_score(truth[rows], predicted[rows]),
        },
        rng,
    )


def test_a_single_label_is_no_pair_of_classes():
    truth, predicted = np.random.default_rng(0).random((2, 30, 1)) < 0.4
    found = metrics.label_set_metrics(truth, predicted, predicted * 1.0)
    expected = sklearn_metrics.f1_score(truth[:, 0], predicted[:, 0])
    assert found["f1_micro"].value == found["f1_macro"].value == pytest.approx(expected)
    assert found["f1_samples"].value == pytest.approx((truth & predicted).mean())


@pytest.mark.parametrize("seed", SEEDS)
def test_one_label(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.random((2, 30)) < 0.4
    scores = {"precision": "precision_score", "recall": "recall_score", "f1": "f1_score"}
    references = {
        name: lambda rows, score=score: getattr(sklearn_metrics, score)(truth[rows], predicted[rows])
        for name, score in scores.items()
    }
    check(metrics.label_metrics(truth, predicted), references, rng)
    absent = np.zeros(30, bool)
    assert np.isnan([metric.value for metric in metrics.label_metrics(absent, absent).values()]).all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("offset", [0, 10_000_000])
def test_numbers(seed, offset):
    rng = np.random.default_rng(seed)
    truth = rng.integers(6, size=30) + float(offset)  # with ties
    predicted = truth + rng.normal(size=30).round(1)
    check(
        metrics.number_metrics(truth, predicted),
        {
            "pearson": lambda rows: pearsonr(truth[rows], predicted[rows]).statistic,
            "spearman": lambda rows: spearmanr(truth[rows], predicted[rows]).statistic,
            "mae": lambda rows: sklearn_metrics.mean_absolute_error(truth[rows], predicted[rows]),
            "rmse": lambda rows: sklearn_metrics.root_mean_squared_error(truth[rows], predicted[rows]),
            "r2": lambda rows: sklearn_metrics.r2_score(truth[rows], predicted[rows]),
        },
        rng,
    )


def test_a_correlation_of_equal_numbers():
    """Not defined for equal true numbers, 0 for equal predictions, without a warning, as in the task's metrics."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        equal, varied = np.full(6, 0.1), np.arange(6.0)
        for truth, predicted in ((equal, varied), (varied, equal), (equal, equal)):
            for name in ("pearson", "spearman", "r2"):
                metric = metrics.number_metrics(truth, predicted)[name]
                assert metric.of_weights(np.ones((1, 6)))[0] == pytest.approx(metric.value, nan_ok=True)


def test_votes():
    rng = np.random.default_rng(0)
    shares, scores = rng.dirichlet(np.ones(3), size=(2, 20))
    shares[0] = [0.5, 0.5, 0]
    found, decided = metrics.vote_metrics(shares, scores)
    assert decided.tolist() == [False, *[True] * 19]
    expected = (shares.argmax(1) == scores.argmax(1))[1:].mean()
    assert found["accuracy"].value == pytest.approx(expected)
    assert found["kl"].value == pytest.approx(entropy(shares, scores, axis=1).mean())
    assert found["kl"].lower_is_better
    assert metrics.vote_metrics(np.full((2, 2), 0.5), np.full((2, 2), 0.5))[0].keys() == {"kl"}


def test_a_class_without_rows_is_left_out_of_the_macro_mean():
    truth, predicted = np.array([1, 2] * 10), np.array([1, 2] * 9 + [2, 1])
    assert metrics.class_metrics(truth, predicted, 3)["f1_macro"].value == pytest.approx(0.9)


def test_no_row_is_refused():
    ids, numbers, sets = np.array([], int), np.array([]), np.zeros((0, 3), bool)
    for measure in (
        lambda: metrics.class_metrics(ids, ids, 3),
        lambda: metrics.grade_metrics(ids, ids, 3),
        lambda: metrics.number_metrics(numbers, numbers),
        lambda: metrics.label_set_metrics(sets, sets, sets * 1.0),
        lambda: metrics.vote_metrics(sets * 1.0, sets * 1.0),
    ):
        with pytest.raises(ValueError, match="no row to measure on"):
            measure()
