"""Two models on the same rows."""

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from bert_ft.evaluation.comparison import about, compare, mcnemar, rows_needed
from bert_ft.evaluation.metrics import class_metrics, number_metrics, share


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pair(rows, only_first, only_second):
    places = np.arange(rows)
    first = places >= only_second
    second = (places < only_second) | (places >= only_second + only_first)
    return share("accuracy", first), share("accuracy", second)


@pytest.mark.parametrize(
    ("rows", "only_first", "only_second", "p"), [(1066, 30, 22, 0.3317), (60, 6, 1, 0.125), (60, 0, 0, 1)]
)
def test_rows_that_one_model_alone_has_right(rows, only_first, only_second, p, rng):
    found = compare(*pair(rows, only_first, only_second), rng=rng)
    assert found.p == pytest.approx(p, abs=1e-4)
    assert found.p == mcnemar(only_first, only_second)
    assert not found.differs
    assert f"can't be told apart on {rows:,} rows" in found.sentence("a", "b")


def test_the_rows_that_a_difference_needs(rng):
    assert about(rows_needed(30, 22, 1066)) == 6_800
    assert about(rows_needed(30, 22, 1066, power=0.5)) == 3_300
    assert rows_needed(22, 30, 1066) == rows_needed(30, 22, 1066)
    assert rows_needed(5, 5, 60) is None
    said = compare(*pair(1066, 30, 22), rng=rng).sentence("a", "b")
    assert said.endswith("; about 6,800 would be needed to see this difference (power 0.8)")
    same = compare(*pair(60, 0, 0), rng=rng)
    assert (same.rows_needed, same.better) == (None, 0)
    assert same.sentence("a", "b").endswith("(p 1.0000, exact McNemar test)")


def test_so_many_rows_do_show_the_difference():
    """Simulated with the power of the formula."""
    rng = np.random.default_rng(0)
    rows = rows_needed(60, 20, 1000)
    drawn = rng.multinomial(rows, [0.06, 0.02, 0.92], size=400)
    shown = np.mean([binomtest(first, first + second).pvalue < 0.05 for first, second, _ in drawn.tolist()])
    assert shown == pytest.approx(0.8, abs=0.07)


def test_a_difference_beyond_chance_names_the_better(rng):
    assert (
        compare(*pair(200, 30, 5), rng=rng).sentence("a", "b").startswith("a is better on 200 rows: accuracy")
    )
    truth = rng.normal(size=100)
    noise = rng.normal(size=100)
    worse, better = (number_metrics(truth, truth + noise * scale)["mae"] for scale in (1.0, 0.5))
    found = compare(worse, better, rng=rng)
    assert (found.differs, found.better) == (True, 2)
    assert found.high < 0
    assert found.sentence("a", "b").startswith("b is better")


def test_both_models_are_measured_on_the_same_resamples(rng):
    truth = rng.integers(3, size=300)
    first, second = (np.where(rng.random(300) < share_right, truth, 0) for share_right in (0.7, 0.72))
    metrics = [class_metrics(truth, predicted, 3)["f1_macro"] for predicted in (first, second)]
    found = compare(*metrics, rng=rng)
    assert found.low < metrics[1].value - metrics[0].value < found.high
    same = compare(metrics[0], metrics[0], rng=rng)
    assert (same.low, same.high, same.p, same.rows_needed) == (0, 0, 1, None)


def test_groups_are_resampled_whole(rng):
    first, second = pair(60, 12, 0)
    documents = np.arange(60) // 12  # all twelve rows are one document
    assert compare(first, second, rng=rng).differs
    assert not compare(first, second, rng=rng, clusters=documents).differs
    one = compare(first, second, rng=rng, clusters=np.zeros(60, int))
    assert one.p is None
    assert "all rows belong to one group" in one.sentence()


def test_other_rows_are_refused(rng):
    with pytest.raises(ValueError, match="60 and 50 rows"):
        compare(pair(60, 1, 1)[0], pair(50, 1, 1)[0], rng=rng)


def test_the_interval_of_a_difference_is_scipys(rng):
    truth = rng.normal(size=80)
    first, second = (truth + rng.normal(size=80) * spread for spread in (1.0, 0.9))
    metrics = [number_metrics(truth, predicted)["mae"] for predicted in (first, second)]
    found = compare(*metrics, rng=rng, num_resamples=10_000)
    differences = np.abs(second - truth) - np.abs(first - truth)
    scipys = bootstrap((differences,), np.mean, method="percentile", n_resamples=10_000, rng=rng)
    np.testing.assert_allclose([found.low, found.high], scipys.confidence_interval, atol=0.015)


@pytest.mark.parametrize(("rows", "differs"), [(1, False), (5, False), (6, True), (50, True)])
def test_the_same_difference_in_each_row(rows, differs, rng):
    truth = np.arange(float(rows))
    found = compare(*(number_metrics(truth, truth + error)["mae"] for error in (1.0, 0.5)), rng=rng)
    assert (found.differs, found.better) == (differs, 2)
    assert found.p >= 2.0 ** (1 - rows)
    assert found.rows_needed == 6
