"""The standard error of a measured score."""

import math

CORRELATIONS = ("spearman", "pearson")  # ends of metrics' names
WITHOUT = ("r2", "quadratic_kappa")  # scores up to 1 that aren't a share


def standard_error(share: float, num_rows: int, metric: str = "") -> float:
    """Return ``sqrt(p (1 - p) / n)`` for a share of ``num_rows`` rows, such as an accuracy; 0 if it isn't a share.

    For a correlation, by the name of the metric: ``(1 - r²) / sqrt(n - 1)`` (Fisher 1915).
    """
    name = metric.rpartition("/")[2]
    if name in CORRELATIONS:
        return (1 - share**2) / math.sqrt(num_rows - 1) if -1 <= share <= 1 and num_rows > 1 else 0.0
    if not 0 <= share <= 1 or not num_rows or name in WITHOUT:
        return 0.0
    return math.sqrt(share * (1 - share) / num_rows)
