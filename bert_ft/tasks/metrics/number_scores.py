"""Scores of predicted numbers, in double precision."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def number_scores(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, float]:
    """Return Pearson and Spearman correlation, MAE, RMSE and R² of ``(rows,)`` each.

    Correlations and R² are NaN if all true numbers are equal, as in scipy; correlations are 0 if only the predictions are,
    where scipy has NaN: they tell nothing, and a search can compare 0.
    """
    from scipy.stats import pearsonr, spearmanr

    errors = predicted - true
    found = {"mae": float(np.abs(errors).mean()), "rmse": math.sqrt(float(np.square(errors).mean()))}
    spread = float(np.square(true - true.mean()).sum())
    if len(true) < 2 or np.ptp(true) == 0:
        return dict.fromkeys(("pearson", "spearman", "r2"), math.nan) | found
    found["r2"] = 1 - float(np.square(errors).sum()) / spread
    if not np.isfinite(predicted).all():
        return dict.fromkeys(("pearson", "spearman"), math.nan) | found
    if np.ptp(predicted) == 0:
        return dict.fromkeys(("pearson", "spearman"), 0.0) | found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nearly constant predictions
        correlations = {
            "pearson": float(pearsonr(predicted, true).statistic),
            "spearman": float(spearmanr(predicted, true).statistic),
        }
    return {name: 0.0 if math.isnan(value) else value for name, value in correlations.items()} | found
