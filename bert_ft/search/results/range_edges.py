"""Good values at the edge of a parameter's range: better ones may lie beyond it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bert_ft.search.results.parameters import EDGE, Parameter, parameters
from bert_ft.search.results.ranking import ranked
from bert_ft.search.results.study_log import StudyLog, TrialLog

BEST_SHARE = 0.1  # of the complete trials count as the best ones
BEST_LEAST = 3
ROUNDING = 1e-9
FEWEST_VALUES = 3  # of two values each is at an edge


@dataclass(frozen=True)
class Edge:
    """A parameter whose best values are at one end of its range.

    Attributes:
        parameter: which.
        is_upper: which end.
        limit: the end's value.
        num_there: how many of the best trials are there.
        num_best: how many have the parameter.
        best_value: that of the best trial that has it.
    """

    parameter: str
    is_upper: bool
    limit: str
    num_there: int
    num_best: int
    best_value: str


def edges(log: StudyLog) -> list[Edge]:
    """Where the best trial, or at least half of the best ones, are within a twentieth of an end of the range.

    The best ones are a tenth of the complete trials, and three at least. Parameters of two values, and those whose
    values have no order, have no edge.
    """
    trials = ranked(log)
    best = trials[: max(BEST_LEAST, math.ceil(BEST_SHARE * len(trials)))]
    found = []
    for parameter in parameters(log):
        having = [trial for trial in best if parameter.name in trial.params]
        if having and parameter.is_ordered and parameter.num_values >= FEWEST_VALUES:
            found += _of(parameter, having)
    return found


def _of(parameter: Parameter, best: Sequence[TrialLog]) -> list[Edge]:
    shares = [parameter.share(trial.params[parameter.name]) for trial in best]
    found = []
    for is_upper in (False, True):
        there = [(1 - share if is_upper else share) <= EDGE + ROUNDING for share in shares]
        if there[0] or 2 * sum(there) >= len(there):
            value = best[0].params[parameter.name]
            limit = (
                parameter.choices[-1 if is_upper else 0]
                if parameter.choices
                else f"{parameter.high if is_upper else parameter.low:g}"
            )
            shown = f"{value:.3g}" if isinstance(value, float) else str(value)
            found.append(Edge(parameter.name, is_upper, limit, sum(there), len(there), shown))
    return found
