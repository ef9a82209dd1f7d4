"""The standard error of a measured share."""

import math


def standard_error(share: float, num_rows: int) -> float:
    """Return ``sqrt(p (1 - p) / n)`` for a share of ``num_rows`` rows, such as an accuracy; else 0."""
    if not 0 <= share <= 1 or not num_rows:
        return 0.0
    return math.sqrt(share * (1 - share) / num_rows)
