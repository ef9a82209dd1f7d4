"""Which trials are the best."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bert_ft.search.results.study_log import StudyLog, TrialLog


def ranked(log: StudyLog) -> list[TrialLog]:
    """Return the complete trials, the best first, the earlier first among equals.

    With several objectives, the trials that no other trial dominates come first, then the trials that only
    the first ones dominate, and so on.
    """
    return [trial for _, trial in sorted(_with_ranks(log), key=lambda pair: pair[0])]


def front(log: StudyLog) -> list[TrialLog]:
    """Return the trials that no other trial dominates; the best one of a single objective."""
    found = [trial for rank, trial in _with_ranks(log) if rank == 0]
    return found[:1] if len(log.maximize) == 1 else found


def _with_ranks(log: StudyLog) -> list[tuple[int, TrialLog]]:
    trials = [trial for trial in log.complete if trial.values and all(map(math.isfinite, trial.values))]
    values = np.array([trial.values for trial in trials], dtype=float).reshape(len(trials), len(log.maximize))
    return list(zip(_ranks(np.where(log.maximize, -values, values)), trials, strict=True))


def _ranks(costs: NDArray[np.float64]) -> list[int]:
    """Return 0 for undominated trials, 1 for those that only these dominate, and so on.

    ``costs`` are ``(trials, objectives)``.
    """
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
