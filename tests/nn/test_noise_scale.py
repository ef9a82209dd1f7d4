"""Noise and signal of the gradient: in closed form, and over many draws from a known distribution."""

import numpy as np
import pytest
import torch

from bert_ft.nn.noise_scale import noise_and_signal

pytestmark = pytest.mark.slow

MEAN = np.array([0.3, -0.2, 0.1, 0.4])
SD = np.array([1.0, 2.0, 0.5, 1.5])
TRACE, SIGNAL = float((SD**2).sum()), float((MEAN**2).sum())


@pytest.mark.parametrize(("small", "big"), [(1, 2), (4, 16), (3, 7)])
def test_expected_norms_give_noise_and_signal(small, big):
    """E |mean gradient over n rows|² = |G|² + tr(Σ) / n, of which the two are the solution."""
    norms = [torch.tensor(SIGNAL + TRACE / rows, dtype=torch.float64) for rows in (small, big)]
    noise, signal = noise_and_signal(*norms, small, big)
    assert noise.item() == pytest.approx(TRACE)
    assert signal.item() == pytest.approx(SIGNAL)


@pytest.mark.parametrize(
    "part_of_window", [True, False], ids=["the small batch is part of the big one", "apart"]
)
def test_estimates_are_unbiased(part_of_window):
    """Rows' losses ½ |x - c|²: their gradients at x are normal around x - E c with the covariance of c."""
    rng = np.random.default_rng(0)
    small, big, draws = 4, 12, 40_000
    gradients = MEAN + SD * rng.normal(size=(draws, big, len(MEAN)))
    first = gradients[:, :small] if part_of_window else MEAN + SD * rng.normal(size=(draws, small, len(MEAN)))
    norms = [torch.from_numpy((rows.mean(axis=1) ** 2).sum(axis=1)) for rows in (first, gradients)]
    for estimates, truth in zip(noise_and_signal(*norms, small, big), (TRACE, SIGNAL), strict=True):
        error = estimates.std().item() / np.sqrt(draws)
        assert error < 0.02 * TRACE  # or the next line would say nothing
        assert estimates.mean().item() == pytest.approx(truth, abs=4 * error)
    # single ones are what the docstring says of them
    _, signal = noise_and_signal(*norms, small, big)
    assert (signal < 0).double().mean() > 0.1


def test_without_noise_the_signal_is_the_norm():
    norm = torch.tensor(2.5, dtype=torch.float64)
    assert [value.item() for value in noise_and_signal(norm, norm, 8, 32)] == pytest.approx([0, 2.5])
