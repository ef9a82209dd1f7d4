"""Reliability of a classifier's probabilities, for the monitor and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NUM_BINS = 15  # the default of the monitor's expected calibration error


class ReliabilityBins(NamedTuple):
    """Rows by their top probability, in bins of equal width that include their upper edge.

    Attributes:
        edges: ``(bins + 1,)``, from 0 to 1.
        counts: ``(bins,)``.
        confidence: ``(bins,)``, mean top probability; NaN in empty bins.
        accuracy: ``(bins,)``; NaN in empty bins.
        ece: expected calibration error, the mean of ``|confidence - accuracy|`` over rows (Naeini et al., 2015).
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    ece: float


def reliability_bins(
    probabilities: NDArray[np.float64], is_correct: NDArray[np.bool_], num_bins: int = NUM_BINS
) -> ReliabilityBins:
    """Return confidence and accuracy of the rows ``(rows,)`` in each bin.

    torchmetrics 1.9 puts a probability of exactly 1 into an extra bin; scikit-learn doesn't count rows, and takes a
    second to import.
    """
    import numpy as np

    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.searchsorted(edges[1:-1], probabilities)
    counts = np.bincount(bins, minlength=num_bins)

    def mean(values: NDArray) -> NDArray[np.float64]:
        totals = np.bincount(bins, weights=values, minlength=num_bins)
        return np.divide(totals, counts, out=np.full(num_bins, np.nan), where=counts > 0)

    confidence, accuracy = mean(probabilities), mean(is_correct)
    filled = counts > 0
    ece = np.average(np.abs(confidence - accuracy)[filled], weights=counts[filled])
    return ReliabilityBins(edges, counts, confidence, accuracy, float(ece))
