"""By how much a measured share may differ by chance."""

import math


def standard_error(share: float, num_rows: int) -> float:
    """Return ``sqrt(p (1 - p) / n)`` for a share of ``num_rows`` rows, such as an accuracy; 0 if it isn't a share."""
    if not 0 <= share <= 1 or not num_rows:
        return 0.0
    return math.sqrt(share * (1 - share) / num_rows)
