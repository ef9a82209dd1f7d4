import numpy as np
import pandas as pd
import pytest

from bert_ft.reporting.smoothing import smoothed


@pytest.mark.parametrize("span", [1, 5, 40.5])
def test_is_the_exponential_mean_of_pandas(span):
    values = np.random.default_rng(0).normal(size=200)
    np.testing.assert_allclose(smoothed(values, span), pd.Series(values).ewm(span=span, adjust=True).mean())


def test_gaps_are_passed_over():
    values = np.array([np.nan, 1, np.inf, 3, np.nan])
    expected = pd.Series([np.nan, 1, np.nan, 3, np.nan]).ewm(span=3, adjust=True).mean()
    np.testing.assert_allclose(smoothed(values, 3), expected)


@pytest.mark.parametrize(("num_values", "span"), [(10, 5), (1000, 20)])
def test_default_span(num_values, span):
    values = np.random.default_rng(0).normal(size=num_values)
    np.testing.assert_array_equal(smoothed(values), smoothed(values, span))


def test_no_values():
    assert smoothed(np.array([])).tolist() == []
