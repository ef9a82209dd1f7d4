"""Sets of labels that hold the true one with a promised probability (split conformal prediction).

Source: Vovk, Gammerman and Shafer 2005; Angelopoulos and Bates 2021, arXiv 2107.07511. The score of a row is one minus the
probability of its true label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bert_ft.errors import ConfigError
from bert_ft.evaluation.abstention import TooFewRowsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

EMPTY_REASON = "no label is likely enough"  # beside an empty set


@dataclass(frozen=True)
class ConformalSets:
    """A rule that gives each row the labels whose score ``1 - probability`` is at most ``quantile``.

    Attributes:
        quantile: the largest score of a label that is in the set.
        rows: calibration rows.
        promised: probability that a set holds the true label.
    """

    quantile: float
    rows: int
    promised: float

    def sets(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which labels are in each row's set, ``(rows, classes)``; a row may have none, see ``EMPTY_REASON``."""
        return 1 - np.asarray(probabilities, np.float64) <= self.quantile


def rows_needed(coverage: float) -> int:
    """Return the least number of calibration rows of which a score can be the quantile."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def conformal_sets(
    scores: NDArray[np.float64], coverage: float, *, key: str = "abstain.sets"
) -> ConformalSets:
    """Return the rule from ``(rows,)`` scores of calibration rows: the ``ceil((rows + 1) coverage)``-th smallest is its quantile.

    Raises:
        ConfigError: ``coverage`` isn't between 0 and 1.
        TooFewRowsError: only the set of all labels would keep the promise.
    """
    if not 0 < coverage < 1:
        raise ConfigError(
            f"{key}: the promised share must be between 0 and 1, both excluded; found {coverage:g}"
        )
    place = math.ceil((len(scores) + 1) * coverage - 1e-9)
    if place > len(scores):
        needed = rows_needed(coverage)
        raise TooFewRowsError(
            f"{key}: {coverage:g} needs at least {needed:,} validation rows, found {len(scores):,}; with fewer only the set of "
            "all labels keeps the promise",
            needed,
        )
    return ConformalSets(float(np.sort(scores)[place - 1]), len(scores), coverage)
