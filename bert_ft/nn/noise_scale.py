"""The gradient noise scale: the batch size above which larger batches help little.

Source: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1.
"""

from torch import Tensor


def noise_and_signal(
    small_norm_2: Tensor, big_norm_2: Tensor, small_batch: int, big_batch: int
) -> tuple[Tensor, Tensor]:
    """Return unbiased estimates of the trace of one row's gradient covariance, and of the mean gradient's squared norm.

    The noise scale is their ratio, after averaging each over many steps: single estimates are so noisy that the second
    is often negative. ``small_norm_2`` and ``big_norm_2`` are squared L2 norms of the mean gradient over ``small_batch``
    rows and over ``big_batch`` rows, which must be more.
    """
    noise = (small_norm_2 - big_norm_2) / (1 / small_batch - 1 / big_batch)
    signal = (big_batch * big_norm_2 - small_batch * small_norm_2) / (big_batch - small_batch)
    return noise, signal
