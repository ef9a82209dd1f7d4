"""Merged moments against numpy's over all values at once, in float64."""

import numpy as np
import pytest
import torch

from bert_ft.nn.statistics import RAW, STATISTICS, merged, raw_moments, sampled, statistics
from tests.moments import moments

NEAR_ZERO = 0.1


def values_of(mean=0.0, sd=1.0, size=(40, 7, 9), dtype=torch.float32):
    """Skewed, so that no odd moment is 0."""
    drawn = np.random.default_rng(0).gamma(2.0, size=size)
    return torch.from_numpy(mean + sd * (drawn - 2) / np.sqrt(2)).to(dtype)


def expected(values):
    return moments(values, NEAR_ZERO)


def found(raw):
    return dict(zip(STATISTICS, statistics(raw).tolist(), strict=True))


def of(values, near_zero=NEAR_ZERO):
    return found(raw_moments(values, near_zero))


def in_parts(values, sizes):
    return torch.stack([raw_moments(part, NEAR_ZERO) for part in values.flatten().split(sizes)])


def assert_close(one, other, kurtosis=1e-5):
    assert one.keys() == other.keys()
    for name, value in one.items():
        rel = kurtosis if name == "kurtosis" else 1e-5
        assert value == pytest.approx(other[name], rel=rel, abs=1e-6 * other["sd"]), name


@pytest.mark.parametrize(
    ("mean", "sd", "kurtosis"),
    # float64 keeps 16 digits, and a fourth power takes 4 of (mean / sd) for each of its own
    [(0, 1, 1e-5), (0, 1e-6, 1e-5), (0, 1e6, 1e-5), (-3, 1, 1e-5), (1e3, 1, 1e-3), (-1e3, 1, 1e-3)],
)
def test_against_numpy(mean, sd, kurtosis):
    values = values_of(mean, sd)
    assert_close(of(values), expected(values), kurtosis=kurtosis)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("size", [(63,), (200, 3, 500)], ids=["few", "many"])
def test_other_precisions(dtype, size):
    """Judged by the values as they are rounded: a sum of 300,000 in 16 bits would stop at 2,048."""
    values = values_of(0.5, 2.0, size, dtype)
    assert_close(of(values), expected(values))
    assert raw_moments(values, NEAR_ZERO).dtype == torch.float64


def test_large_float16_values_keep_their_size():
    values = torch.tensor([6e4, -6e4, 5e4, 0], dtype=torch.float16)
    assert_close(of(values), expected(values))


@pytest.mark.parametrize("near_zero", [0.0, 1.0, 1.5, 2.0])
def test_near_zero_counts_both_signs_and_the_bound(near_zero):
    values = torch.tensor([-2.0, -1.5, -1.0, 0.0, 1.0, 3.0])
    assert of(values, near_zero)["near_zero"] == pytest.approx(np.mean(values.abs().numpy() <= near_zero))


def test_of_normal_values_kurtosis_is_three():
    values = torch.randn(400_000, generator=torch.Generator().manual_seed(0))
    # its sampling error is sqrt(24 / n)
    assert of(values)["kurtosis"] == pytest.approx(3, abs=4 * np.sqrt(24 / len(values)))


@pytest.mark.parametrize("size", [1, 7, 14_655])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1 / 3, 1e3])
def test_equal_values_have_no_spread(value, size):
    """Though float32 can't always hold their mean."""
    statistics_of = of(torch.full((size,), value))
    assert statistics_of["mean"] == pytest.approx(value, rel=1e-6)
    assert statistics_of["sd"] == 0
    assert statistics_of["max_abs"] == pytest.approx(abs(value))
    assert np.isnan(statistics_of["kurtosis"])


def test_a_small_spread_is_one():
    values = values_of(1e3, 0.1)
    assert of(values)["sd"] == pytest.approx(expected(values)["sd"], rel=1e-3)


def test_of_nothing():
    raw = raw_moments(torch.zeros(0, 5), NEAR_ZERO)
    assert raw.tolist() == [0] * len(RAW)
    assert all(np.isnan(value) for value in found(raw).values())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_isnt_finite_shows(value):
    values = values_of()
    values[0, 0, 0] = value
    assert not np.isfinite(of(values)["sd"])
    assert not np.isfinite(of(values)["max_abs"])


def test_nothing_of_the_graph_is_kept():
    values = torch.ones(3, requires_grad=True)
    assert not raw_moments(values, NEAR_ZERO).requires_grad


class TestMerged:
    @pytest.mark.parametrize("sizes", [[2520], [1, 2519], [13, 700, 0, 7, 1800], [252] * 10], ids=len)
    @pytest.mark.parametrize(("mean", "kurtosis"), [(0.0, 1e-5), (1e3, 1e-3)])
    def test_parts_give_what_the_whole_does(self, sizes, mean, kurtosis):
        values = values_of(mean)
        assert_close(found(merged(in_parts(values, sizes))), expected(values), kurtosis=kurtosis)

    def test_in_any_order(self):
        raw = in_parts(values_of(5.0), [13, 700, 7, 1800])
        order = [2, 0, 3, 1]
        pairwise = merged(torch.stack([merged(raw[[0, 3]]), merged(raw[[1, 2]])]))
        for other in (merged(raw[order]), pairwise):
            torch.testing.assert_close(other, merged(raw), rtol=1e-12, atol=0)

    def test_along_any_dimension(self):
        """As readings of processes come: ``(num_processes, num_blocks, 7)``."""
        blocks = [values_of(mean) for mean in (0.0, 1.0, 2.0)]
        halves = torch.stack([in_parts(block, 1260) for block in blocks], dim=1)
        assert halves.shape == (2, 3, len(RAW))
        for dim, raw in ((0, halves), (-2, halves.transpose(0, 1))):
            for block, row in zip(blocks, statistics(merged(raw, dim)).tolist(), strict=True):
                assert_close(dict(zip(STATISTICS, row, strict=True)), expected(block))


class TestSampled:
    def test_few_values_are_all_taken(self):
        parts = [torch.arange(6.0).view(2, 3), torch.tensor(7.0), torch.zeros(0, 4), torch.ones(2)]
        assert sampled(parts, 9).tolist() == [0, 1, 2, 3, 4, 5, 7, 1, 1]

    @pytest.mark.parametrize(
        "shape", [(2048, 768), (64, 32, 384), (512, 312), (10_000, 1), (99_999,)], ids=str
    )
    def test_of_many_every_column_has_its_share(self, shape):
        columns = torch.arange(shape[-1]).expand(shape).contiguous()
        taken = sampled([columns], 4000).long()
        assert 2000 < len(taken) <= 5000
        counts = taken.bincount(minlength=shape[-1])
        if len(shape) > 1:
            assert counts.max() - counts.min() <= 1

    def test_of_many_every_row_has_its_share(self):
        rows = torch.arange(2048)[:, None].expand(2048, 768).contiguous()
        counts = sampled([rows], 4000).long().bincount(minlength=2048)
        assert counts.max() - counts.min() <= 1

    def test_each_part_has_its_share(self):
        parts = [torch.zeros(900, 100), torch.ones(100, 100), torch.full((10,), 2.0)]
        taken = sampled(parts, 1000)
        assert (taken == 0).float().mean().item() == pytest.approx(0.9, abs=0.02)
        assert taken[-1] == 2

    def test_is_float32_and_free_of_the_graph(self):
        taken = sampled([torch.ones(3, dtype=torch.bfloat16, requires_grad=True)])
        assert taken.dtype == torch.float32
        assert not taken.requires_grad
