"""Which trials are the best ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bert_ft.search.results.study_log import StudyLog, TrialLog


def ranked(log: StudyLog) -> list[TrialLog]:
    """The complete trials, the best first, of equal ones the earlier.

    With several objectives those that no other one beats in all of them come first, then those that only these
    beat, and so on.
    """
    trials = _valued(log)
    ranks = _ranks(_costs(trials, log.maximize))
    return [trial for _, trial in sorted(zip(ranks, trials, strict=True), key=lambda pair: pair[0])]


def front(log: StudyLog) -> list[TrialLog]:
    """The trials that none beats in all objectives: of a single objective the best one."""
    trials = _valued(log)
    found = [
        trial for rank, trial in zip(_ranks(_costs(trials, log.maximize)), trials, strict=True) if rank == 0
    ]
    return found[:1] if len(log.maximize) == 1 else found


def best_so_far(values: Sequence[float], maximize: bool) -> list[float]:
    """The best of the values up to each of them."""
    found: list[float] = []
    for value in values:
        found.append(value if not found else (max if maximize else min)(found[-1], value))
    return found


def _valued(log: StudyLog) -> list[TrialLog]:
    return [trial for trial in log.complete if trial.values and all(map(math.isfinite, trial.values))]


def _costs(trials: Sequence[TrialLog], maximize: Sequence[bool]) -> NDArray[np.float64]:
    """The values, less being better → ``(trials, objectives)``."""
    values = np.array([trial.values for trial in trials], dtype=float).reshape(len(trials), len(maximize))
    return np.where(maximize, -values, values)


def _ranks(costs: NDArray[np.float64]) -> list[int]:
    """0 for what nothing dominates, 1 for what only those do, and so on."""
    if costs.shape[1] == 1:
        return np.unique(costs, return_inverse=True)[1].ravel().tolist()
    no_worse: NDArray[np.bool_] = np.all(costs[:, None] <= costs[None], axis=-1)
    dominates = no_worse & ~no_worse.T
    ranks = np.full(len(costs), -1)
    rank = 0
    while (left := ranks < 0).any():
        ranks[left & ~dominates[left].any(axis=0)] = rank
        rank += 1
    return ranks.tolist()
