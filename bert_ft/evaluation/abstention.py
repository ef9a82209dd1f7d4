"""Which rows to answer so that a promise holds on rows that nobody has seen.

Learn then test with a fixed sequence (Angelopoulos, Bates, Candès, Jordan and Lei 2021, arXiv 2110.01052): the sets of the surest
rows are tested from the smallest that could pass, one after the other, each with the exact one-sided binomial bound
(Clopper and Pearson 1934), until the first that fails. The threshold is that of the last one that passed. The order is fixed by
the confidences alone, so the promise holds with 95% whatever the number of sets tested.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bert_ft.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95  # of the promise, one-sided


class TooFewRowsError(ConfigError):
    """A promise that these rows can't prove.

    Attributes:
        needed: rows that could prove it if all were right.
    """

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


@dataclass(frozen=True)
class Abstention:
    """A rule that answers rows of at least ``threshold`` confidence.

    Attributes:
        threshold: least confidence of an answered row.
        kept: rows of the calibration rows that are answered.
        rows: the calibration rows.
        wrong: kept rows that are wrong.
        promised: the promised precision.
        proven: one-sided lower bound of the precision of the kept rows, at least ``promised``.
    """

    threshold: float
    kept: int
    rows: int
    wrong: int
    promised: float
    proven: float

    @property
    def coverage(self) -> float:
        """Share of rows that are answered."""
        return self.kept / self.rows

    def sentence(self) -> str:
        """Return what is promised, in words."""
        return (
            f"answers rows with a confidence of at least {self.threshold:.4g}: {self.kept:,} of {self.rows:,} validation rows "
            f"({self.coverage:.0%}), {self.wrong:,} of them wrong; a precision of {self.promised:g} or more "
            f"holds with {LEVEL:.0%} confidence"
        )


def rows_needed(precision: float, level: float = LEVEL) -> int:
    """Return how many rows, all right, prove a precision: the least n with ``precision ** n <= 1 - level``."""
    return max(1, math.ceil(math.log(1 - level) / math.log(precision) - 1e-12))


def abstention(
    confidence: NDArray[np.float64],
    is_correct: NDArray[np.bool_],
    precision: float,
    *,
    key: str = "abstain.precision",
) -> Abstention:
    """Return the rule that keeps ``precision`` on answered rows, from ``(rows,)`` calibration rows.

    Rows of equal confidence are answered together. Sets are tested row by row from the first that could pass if all its
    rows were right: smaller ones never pass, and testing them would end the sequence before it starts.

    Args:
        confidence: of the predicted class.
        is_correct: whether it is right.
        precision: the promise, between 0 and 1; for a promised risk, 1 minus it.
        key: the configuration key, for messages.

    Raises:
        ConfigError: the promise isn't between 0 and 1.
        TooFewRowsError: there are too few rows, or the surest of them aren't right often enough.
    """
    if not 0 < precision < 1:
        raise ConfigError(
            f"{key}: the promised precision must be between 0 and 1, both excluded; found {precision:g}"
        )
    confidence, is_correct = np.asarray(confidence, np.float64), np.asarray(is_correct, bool)
    needed, rows = rows_needed(precision), len(confidence)
    if rows < needed:
        raise TooFewRowsError(
            f"{key}: a precision of {precision:g} needs at least {needed:,} validation rows (one-sided {LEVEL:.0%}), found {rows:,}; "
            + _possible(rows),
            needed,
        )
    order = (-confidence).argsort(kind="stable")
    confidence, wrong = confidence[order], (~is_correct[order]).cumsum()
    ends = _ends(confidence, needed)
    num_passed = _num_passed(wrong[ends], ends + 1, precision)
    if not num_passed:
        first = int(ends[0])
        raise TooFewRowsError(
            f"{key}: of the surest {first + 1:,} validation rows {int(wrong[first]):,} are wrong, too many for a precision of "
            f"{precision:g}; {_best(wrong, confidence, precision)}",
            needed,
        )
    last = int(ends[num_passed - 1])
    kept, errors = last + 1, int(wrong[last])
    return Abstention(
        float(confidence[last]), kept, rows, errors, precision, precision_bound(kept - errors, kept)
    )


def precision_bound(right: int, of: int, level: float = LEVEL) -> float:
    """Return the exact one-sided lower bound of a precision (Clopper-Pearson)."""
    from scipy.stats import binomtest

    return float(binomtest(right, of, alternative="greater").proportion_ci(level, "exact").low)


def _ends(confidence: NDArray[np.float64], needed: int) -> NDArray[np.int64]:
    """Return the last row of each confidence, of rows in falling order, from the first set of ``needed`` rows."""
    ends = np.append(np.flatnonzero(np.diff(confidence)), len(confidence) - 1)
    return ends[ends + 1 >= needed]


def _num_passed(wrong: NDArray[np.int64], rows: NDArray[np.int64], precision: float) -> int:
    """Return how many sets pass before the first that fails, from their wrong rows and their rows."""
    from scipy.stats import binom

    passes = binom.cdf(wrong, rows, 1 - precision) <= 1 - LEVEL
    return len(passes) if passes.all() else int(np.flatnonzero(~passes)[0])


def _best(wrong: NDArray[np.int64], confidence: NDArray[np.float64], precision: float) -> str:
    """Return the highest promise in hundredths that these rows can prove, for a message."""
    for hundredths in range(math.ceil(precision * 100) - 1, 0, -1):
        promise = hundredths / 100
        ends = _ends(confidence, rows_needed(promise))
        if len(ends) and _num_passed(wrong[ends], ends + 1, promise):
            return f"{promise:g} is possible with these rows"
    return "no promise is possible with these rows"


def _possible(rows: int) -> str:
    """Return what these rows can prove if all are right, for a message."""
    if not rows:
        return "there are no validation rows"
    possible = math.floor((1 - LEVEL) ** (1 / rows) * 1000) / 1000
    return f"{possible:g} is possible with these if all are right"
