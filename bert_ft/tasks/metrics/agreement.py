"""How far the annotators of texts agree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Agreement(NamedTuple):
    """Agreement of annotators.

    Attributes:
        pairs: share of the pairs of votes for the same row that agree, the mean over rows.
        alpha: Krippendorff's alpha for nominal labels: 1 if all agree, 0 if they agree as often as by chance.
    """

    pairs: float
    alpha: float


def agreement(votes: NDArray[np.float64]) -> Agreement | None:
    """Return the agreement from counts ``(rows, classes)``; ``None`` if they aren't counts, or no row has two votes.

    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability".
    """
    totals = votes.sum(axis=1)
    several = votes[totals >= 2]
    if (votes != np.rint(votes)).any() or not len(several):
        return None
    sizes = several.sum(axis=1)
    agreeing = (several * (several - 1)).sum(axis=1)
    # each row counts with its votes: of its pairs, each vote has size - 1
    observed = 1 - (agreeing / (sizes - 1)).sum() / sizes.sum()
    of_class, total = several.sum(axis=0), sizes.sum()
    expected = 1 - (of_class * (of_class - 1)).sum() / (total * (total - 1))
    pairs = (agreeing / (sizes * (sizes - 1))).mean()
    return Agreement(float(pairs), float(1 - observed / expected) if expected else 1.0)
