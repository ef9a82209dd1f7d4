"""How far confidences are from shares of right rows, and how much of that is chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bert_ft.tasks.calibration import NUM_BINS, ReliabilityBins, reliability_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """Calibration of some rows; without an interval, since the plain error is biased upward at every number of rows.

    Attributes:
        bins: for the picture.
        error: the expected calibration error of the rows, as ``confidence/ece``.
        debiased: an estimate of the error without what chance alone adds, at most ``error``; ``None`` if no bin has two rows.
    """

    bins: ReliabilityBins
    error: float
    debiased: float | None


def calibration(
    confidence: NDArray[np.float64], is_correct: NDArray[np.bool_], num_bins: int = NUM_BINS
) -> Calibration:
    """Return the calibration of ``(rows,)`` confidences of the predicted classes, or of a label's probabilities and truth.

    ``debiased`` is the root of the squared calibration error, minus in each bin the variance of its share of right rows,
    ``p (1 - p) / (n - 1)`` (Kumar, Liang and Ma, "Verified Uncertainty Calibration", 2019, arXiv 1909.10155),
    and 0 where chance explains all of it. A bin of one row has no variance and is left out of it. It is a root mean square,
    which is at least the mean of the same gaps, so it is shown where it is below the plain error.
    """
    if not len(confidence):
        raise ValueError("calibration needs at least one row")
    bins = reliability_bins(np.asarray(confidence, np.float64), np.asarray(is_correct, bool), num_bins)
    several = bins.counts > 1
    if not several.any():
        return Calibration(bins, bins.ece, None)
    counts, accuracy = bins.counts[several], bins.accuracy[several]
    gaps = np.square(bins.confidence[several] - accuracy) - accuracy * (1 - accuracy) / (counts - 1)
    squared = float(np.average(gaps, weights=counts))
    return Calibration(bins, bins.ece, min(bins.ece, max(0.0, squared) ** 0.5))
