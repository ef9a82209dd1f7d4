"""Whether two models differ on the same rows, or whether that is chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bert_ft.evaluation.intervals import LEVEL
from bert_ft.evaluation.metrics import Metric
from bert_ft.evaluation.resampling import RESAMPLES, resampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

POWER = 0.8
LEAST_ROWS = 6  # with fewer, nothing is beyond chance: all in favor of one model is 1 of 2 ** 4 for five rows
MCNEMAR = "exact McNemar test"
BOOTSTRAP = "paired bootstrap"


@dataclass(frozen=True)
class Comparison:
    """Two models on the same rows.

    Attributes:
        metric: name of the metric.
        first: its value for the first model.
        second: its value for the second model.
        better: 1 or 2; 0 if both have the same value.
        rows: number of rows.
        p: two-sided probability of at least this difference by chance; ``None`` without a test.
        rows_needed: rows at which this difference would be seen four times in five (power 0.8); ``None`` if there is none, or it
            can't be estimated.
        method: name of the test.
        reason: why there is no test; else empty.
        low, high: 95% interval of second minus first, of a bootstrap; else ``None``.
    """

    metric: str
    first: float
    second: float
    better: int
    rows: int
    p: float | None
    rows_needed: int | None
    method: str
    reason: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def differs(self) -> bool:
        """Whether the difference is more than chance, at 5%."""
        return self.p is not None and self.p < 1 - LEVEL

    def sentence(self, first: str = "the first model", second: str = "the second") -> str:
        """Return the result in plain words."""
        values = f"{self.metric} {self.first:.4f} and {self.second:.4f}"
        if self.p is None:
            return f"{first} and {second} can't be compared ({values}): {self.reason}"
        chance = f"p {self.p:.4f}, {self.method}" if self.p >= 0.0001 else f"p below 0.0001, {self.method}"
        if self.differs:
            winner = first if self.better == 1 else second
            return f"{winner} is better on {self.rows:,} rows: {values} ({chance})"
        said = f"{first} and {second} can't be told apart on {self.rows:,} rows: {values} ({chance})"
        if self.rows_needed is None:
            return said
        return f"{said}; about {about(self.rows_needed):,} would be needed to see this difference (power {POWER:g})"


def compare(
    first: Metric,
    second: Metric,
    *,
    rng: np.random.Generator,
    clusters: NDArray[np.int64] | None = None,
    num_resamples: int = RESAMPLES,
) -> Comparison:
    """Return whether two models differ in the same metric of the same rows.

    Shares of independent rows are tested exactly (McNemar 1947), other metrics by a paired bootstrap: both models are measured on
    the same resamples, of rows or of whole ``clusters``.
    """
    if len(first) != len(second):
        raise ValueError(
            f"models were measured on {len(first):,} and {len(second):,} rows; compare the same rows"
        )
    if clusters is None and first.hits is not None and second.hits is not None:
        only_first = int((first.hits & ~second.hits).sum())
        only_second = int((second.hits & ~first.hits).sum())
        return _comparison(
            first,
            second,
            mcnemar(only_first, only_second),
            rows_needed(only_first, only_second, len(first)),
            MCNEMAR,
        )
    if not (np.isfinite(first.value) and np.isfinite(second.value)):
        return _comparison(first, second, None, None, BOOTSTRAP, "not defined on these rows")
    if clusters is not None and len(np.unique(clusters)) == 1:
        return _comparison(first, second, None, None, BOOTSTRAP, "all rows belong to one group")
    values = resampled([first, second], rng=rng, clusters=clusters, num_resamples=num_resamples).values
    differences = (values[1] - values[0])[np.isfinite(values).all(axis=0)]
    if not len(differences):
        return _comparison(first, second, None, None, BOOTSTRAP, "not defined in any resample")
    observed, spread = second.value - first.value, float(differences.std())
    tail = min((differences <= 0).sum(), (differences >= 0).sum())
    # of few rows, no resample contradicts what may be luck; the sign test bounds p from below
    num_drawn = len(first) if clusters is None else len(np.unique(clusters))
    p = min(1.0, max(2 * (1 + int(tail)) / (len(differences) + 1), 2.0 ** (1 - num_drawn)))
    needed = None
    if observed:
        needed = max(LEAST_ROWS, math.ceil(len(first) * ((_z(LEVEL) + _z_power()) * spread / observed) ** 2))
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return _comparison(first, second, p, needed, BOOTSTRAP, "", float(low), float(high))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of rows that only one of two models has right; 1 without any."""
    from scipy.stats import binomtest

    total = only_first + only_second
    return float(binomtest(only_first, total).pvalue) if total else 1.0


def rows_needed(only_first: int, only_second: int, rows: int, power: float = POWER) -> int | None:
    """Return how many rows a McNemar test needs to see this difference with that power; ``None`` without a difference.

    Source: Connor 1987, Biometrics 43, 207-211.
    """
    difference, either = (only_first - only_second) / rows, (only_first + only_second) / rows
    if not difference:
        return None
    spread = _z(LEVEL) * math.sqrt(either) + _z_power(power) * math.sqrt(either - difference**2)
    return math.ceil((spread / difference) ** 2)


def about(number: int) -> int:
    """Return a number of rows to two digits: ``6,796`` is about 6,800."""
    return int(float(f"{number:.1e}"))


def _comparison(
    first: Metric,
    second: Metric,
    p: float | None,
    needed: int | None,
    method: str,
    reason: str = "",
    low: float | None = None,
    high: float | None = None,
) -> Comparison:
    better = 0
    if first.value != second.value:
        better = 1 if (first.value < second.value) == first.lower_is_better else 2
    return Comparison(
        first.name, first.value, second.value, better, len(first), p, needed, method, reason, low, high
    )


def _z(level: float) -> float:
    """Return the quantile of a two-sided level, 1.96 for 95%."""
    from scipy.stats import norm

    return float(norm.ppf((1 + level) / 2))


def _z_power(power: float = POWER) -> float:
    from scipy.stats import norm

    return float(norm.ppf(power))
