"""The gradient noise scale: the batch size from which on a larger one brings little.

Source: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1.
"""

from __future__ import annotations

from torch import Tensor


def noise_and_signal(
    small_norm_2: Tensor, big_norm_2: Tensor, small_batch: int, big_batch: int
) -> tuple[Tensor, Tensor]:
    """Unbiased estimates of the trace of the gradient's covariance for one row, and of its mean's squared norm.

    The noise scale is the ratio of the two, each averaged over many steps first: single estimates are so noisy
    that the second is often negative.

    Args:
        small_norm_2: squared L2 norm of the mean gradient over ``small_batch`` rows.
        big_norm_2: likewise over ``big_batch`` rows, more than ``small_batch``.
        small_batch: rows.
        big_batch: rows.
    """
    noise = (small_norm_2 - big_norm_2) / (1 / small_batch - 1 / big_batch)
    signal = (big_batch * big_norm_2 - small_batch * small_norm_2) / (big_batch - small_batch)
    return noise, signal
