"""How often 95% intervals hold the true value, and how often a promise of abstention is kept, in simulated test sets.

    python -m benchmarks.interval_coverage [--sets 1000]

The truth is known: rows are drawn from the probabilities of truth and prediction below. The json file has the shares, in percent;
``docs/evaluation.md`` shows them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.measure import record
from bert_ft.evaluation.abstention import TooFewRowsError, abstention
from bert_ft.evaluation.conformal import conformal_sets
from bert_ft.evaluation.intervals import Interval, interval
from bert_ft.evaluation.metrics import Metric, class_metrics, number_metrics, share

SIZES = (100, 300, 1_000)
# shares of the classes, and the recall of each; wrong predictions are spread evenly
POPULATIONS = {
    "two classes": ([0.5, 0.5], [0.9, 0.9]),
    "two classes, 97% right": ([0.5, 0.5], [0.97, 0.97]),
    "three classes": ([1 / 3] * 3, [0.9, 0.85, 0.8]),
    "ten classes": ([0.1] * 10, [0.8] * 10),
    "two classes, one of 5%": ([0.95, 0.05], [0.98, 0.7]),
    "three classes, one of 5%": ([0.475, 0.475, 0.05], [0.92, 0.9, 0.6]),
    "three classes, one of 5%, 96% right": ([0.475, 0.475, 0.05], [0.96, 0.96, 0.9]),
}


def probabilities_of(shares: list[float], recall: list[float]) -> np.ndarray:
    """Probabilities of truth and prediction, ``(classes, classes)``."""
    right = np.array(recall)
    spread = np.repeat((1 - right)[:, None] / (len(right) - 1), len(right), axis=1)
    np.fill_diagonal(spread, right)
    return spread * np.array(shares)[:, None]


def coverage(
    draw: Callable[[], Mapping[str, tuple[Metric, float]]],
    sets: int,
    rng: np.random.Generator,
    **settings: int,
) -> dict[str, dict[str, float]]:
    """Per metric the percent of test sets whose interval holds the truth, lies above or below it, and its mean width."""
    found: dict[str, list[tuple[Interval, float]]] = {}
    for _ in range(sets):
        for name, (metric, truth) in draw().items():
            found.setdefault(name, []).append((interval(metric, rng=rng, **settings), truth))
    return {name: summary(pairs) for name, pairs in found.items()}


def summary(pairs: list[tuple[Interval, float]]) -> dict[str, float]:
    shown = [
        (low, high, truth) for each, truth in pairs if (low := each.low) is not None and (high := each.high)
    ]
    low, high, truth = np.array(shown).T
    return {
        "holds": round(100 * float(((low <= truth) & (truth <= high)).mean()), 1),
        "above": round(100 * float((low > truth).mean()), 1),
        "below": round(100 * float((high < truth).mean()), 1),
        "width": round(float((high - low).mean()), 3),
        "without_interval": len(pairs) - len(shown),
    }


def of_classes(name: str, rows: int, sets: int, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    probabilities = probabilities_of(*POPULATIONS[name])
    size = len(probabilities)
    right, sums = np.diag(probabilities), probabilities.sum(0) + probabilities.sum(1)
    true_values = {"accuracy": right.sum(), "f1_macro": (2 * right / sums).mean()}

    def draw() -> dict[str, tuple[Metric, float]]:
        cells = rng.choice(size**2, size=rows, p=probabilities.ravel())
        metrics = class_metrics(cells // size, cells % size, size)
        return {metric: (metrics[metric], true_values[metric]) for metric in true_values}

    return coverage(draw, sets, rng)


def of_numbers(rows: int, sets: int, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Normal numbers and predictions whose correlation is 0.8."""
    correlation, spread = 0.8, 0.75  # predicted = truth + noise: 1 / sqrt(1 + 0.75²) = 0.8
    true_values = {
        "pearson": correlation,
        "spearman": 6 / math.pi * math.asin(correlation / 2),
        "mae": spread * math.sqrt(2 / math.pi),
        "rmse": spread,
    }

    def draw() -> dict[str, tuple[Metric, float]]:
        truth = rng.normal(size=rows)
        metrics = number_metrics(truth, truth + spread * rng.normal(size=rows))
        return {metric: (metrics[metric], value) for metric, value in true_values.items()}

    return coverage(draw, sets, rng, num_resamples=400)


def of_groups(groups: int, sets: int, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Accuracy of groups of ten rows, which are right with a share of their own; by groups, and as if rows were independent."""
    clusters = np.repeat(np.arange(groups), 10)
    by_groups, by_rows = [], []
    for _ in range(sets):
        hits = rng.random(len(clusters)) < np.repeat(rng.beta(4, 1, size=groups), 10)
        metric = share("accuracy", hits)
        by_groups.append((interval(metric, rng=rng, clusters=clusters), 0.8))
        by_rows.append((interval(metric, rng=rng), 0.8))
    return {"by groups": summary(by_groups), "by rows": summary(by_rows)}


def of_abstention(promise: float, rows: int, splits: int, rng: np.random.Generator) -> dict[str, float]:
    """Percent of splits in which the answered share of the population keeps the promise; at place v of 0 to 1, rows are
    wrong with 0.002 + 0.16 v². A refused split keeps it."""
    kept, refused, answered, observed = 0, 0, [], 0
    for _ in range(splits):
        places = rng.random(rows)
        right = rng.random(rows) >= 0.002 + 0.16 * places**2
        in_order = right[places.argsort()]
        shares = in_order.cumsum() / np.arange(1, rows + 1)
        last = np.flatnonzero(shares >= promise)
        observed += not len(last) or precision_until(np.sort(places)[last[-1]]) >= promise
        try:
            threshold = abstention(1 - places, right, promise).threshold
        except TooFewRowsError:
            refused += 1
            kept += 1
            continue
        answered.append(1 - threshold)
        kept += precision_until(1 - threshold) >= promise
    return {
        "keeps": round(100 * kept / splits, 1),
        "refused": round(100 * refused / splits, 1),
        "answered": round(100 * float(np.mean(answered)), 1) if answered else 0.0,
        "observed_precision_keeps": round(100 * float(observed) / splits, 1),
    }


def precision_until(place: float) -> float:
    """Precision of the population up to a place."""
    return 1 - 0.002 - 0.16 * place**2 / 3


def of_sets(promise: float, rows: int, splits: int, rng: np.random.Generator) -> dict[str, float]:
    """Mean percent of new rows whose set holds the true label."""
    quantiles = [conformal_sets(rng.random(rows), promise).quantile for _ in range(splits)]
    return {"holds": round(100 * float(np.mean(quantiles)), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", type=int, default=1_000)
    sets = parser.parse_args().sets
    rng = np.random.default_rng(0)
    found: dict[str, object] = {}

    def add(name: str, figures: object) -> None:
        found[name] = figures
        print(name, figures, flush=True)

    for rows in SIZES:
        for name in POPULATIONS:
            add(f"{name}, {rows} rows", of_classes(name, rows, sets, rng))
    for groups in (6, 20, 50):
        add(f"{groups} groups of ten rows", of_groups(groups, sets, rng))
    for promise, rows in ((0.98, 200), (0.98, 600), (0.95, 300), (0.9, 200)):
        add(f"precision {promise}, {rows} rows", of_abstention(promise, rows, 2 * sets, rng))
    for promise, rows in ((0.9, 99), (0.95, 19)):
        add(f"sets {promise}, {rows} rows", of_sets(promise, rows, 2 * sets, rng))
    for rows in SIZES:
        add(f"numbers, {rows} rows", of_numbers(rows, sets // 2, rng))
    record(__file__, "coverage", found)


if __name__ == "__main__":
    main()
