"""Good values at the edge of a parameter's range: better ones may lie beyond it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from bert_ft.search.results.parameters import Parameter, parameters
from bert_ft.search.results.ranking import ranked
from bert_ft.search.results.study_log import StudyLog, TrialLog

EDGE = 0.05  # of the range, at either end
BEST_SHARE = 0.1  # of the complete trials count as the best
BEST_LEAST = 3
ROUNDING = 1e-9
ALPHA = 0.05
FEWEST_VALUES = 3  # with two, every value is at an edge


@dataclass(frozen=True)
class Edge:
    """A parameter whose best values are at one end of its range."""

    parameter: str
    is_upper: bool  # which end
    limit: str  # value of that end
    num_there: int  # of the best trials
    num_best: int  # of the best trials, that have the parameter
    best_value: str  # of the best trial that has it


def edges(log: StudyLog) -> list[Edge]:
    """Return the ends of ranges where more of the best trials lie than chance would explain.

    The best trials are a tenth of the complete ones, at least three. By chance, each value of a range would
    be there equally often; chance alone finds any end in at most ``ALPHA`` of all searches (Bonferroni). A
    parameter with two values, or whose values have no order, has no edge.
    """
    trials = ranked(log)
    best = trials[: max(BEST_LEAST, math.ceil(BEST_SHARE * len(trials)))]
    found: list[Edge] = []
    judged = [each for each in parameters(log) if each.is_ordered and each.num_values >= FEWEST_VALUES]
    for parameter in judged:
        having = [trial for trial in best if parameter.name in trial.params]
        if having:
            found += _edges_of(parameter, having, ALPHA / (2 * len(judged)))
    return found


def _edges_of(parameter: Parameter, best: Sequence[TrialLog], alpha: float) -> Iterator[Edge]:
    values = [trial.params[parameter.name] for trial in best]
    shown = f"{values[0]:.3g}" if isinstance(values[0], float) else str(values[0])
    by_chance = max(EDGE, 1 / parameter.num_values)  # the share of values at one end
    for is_upper, end in ((False, parameter.low), (True, parameter.high)):
        there = [abs(parameter.share(value) - is_upper) <= EDGE + ROUNDING for value in values]
        if sum(there) and binomtest(sum(there), len(there), by_chance, "greater").pvalue <= alpha:
            limit = parameter.choices[-1 if is_upper else 0] if parameter.choices else f"{end:g}"
            yield Edge(parameter.name, is_upper, limit, sum(there), len(there), shown)
