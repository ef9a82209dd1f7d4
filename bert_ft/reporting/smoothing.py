"""A noisy curve's course."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def smoothed(values: NDArray[np.float64], span: float | None = None) -> NDArray[np.float64]:
    """The exponential mean of the values so far ``(n,)``, unbiased from the first on; gaps are passed over.

    Args:
        values: what isn't finite counts as a gap.
        span: the weight falls by ``1 - 2 / (span + 1)`` a value; ``None``: a fiftieth of the values, at least 5.
    """
    import pandas as pd  # takes a moment to import, and not every report has a curve to smooth

    if span is None:
        span = max(5, len(values) / 50)
    finite = pd.Series(np.where(np.isfinite(values), values, np.nan), dtype=np.float64)
    return finite.ewm(span=span).mean().to_numpy()
