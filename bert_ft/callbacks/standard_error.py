"""How far two validations may lie apart by chance."""

import math


def standard_error(share: float, num_rows: int) -> float:
    """Of a share of ``num_rows`` rows, such as an accuracy: ``sqrt(p (1 - p) / n)``; 0 of what is no share, or of no rows."""
    if not 0 <= share <= 1 or not num_rows:
        return 0.0
    return math.sqrt(share * (1 - share) / num_rows)
