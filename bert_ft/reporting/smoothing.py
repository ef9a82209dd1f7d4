"""A noisy curve's course."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def smoothed(values: NDArray[np.float64], span: float | None = None) -> NDArray[np.float64]:
    """The exponential mean of the values so far ``(n,)``, unbiased from the first on; gaps are passed over.

    Args:
        values: what isn't finite counts as a gap.
        span: the weight falls by ``1 - 2 / (span + 1)`` a value, as pandas' ``ewm(span, adjust=True)`` counts it;
            ``None``: a fiftieth of the values, at least 5.
    """
    if span is None:
        span = max(5, len(values) / 50)
    keep = 1 - 2 / (span + 1)
    total = weight = 0.0
    means = np.full(len(values), np.nan)
    for index, value in enumerate(values):
        total, weight = keep * total, keep * weight
        if np.isfinite(value):
            total, weight = total + value, weight + 1
        if weight:
            means[index] = total / weight
    return means
