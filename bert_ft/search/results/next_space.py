"""The search space to use next: wider where good values lie at an end, narrower elsewhere."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context
from typing import Any

import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from bert_ft.search.results.best_settings import read_record
from bert_ft.search.results.certainty import equals_of_best
from bert_ft.search.results.range_edges import Edge, edges
from bert_ft.search.results.ranking import ranked
from bert_ft.search.results.study_log import StudyLog
from bert_ft.search.spelling import as_written

NAME = "next"  # of the choice in the group ``search``
FEWEST = 5  # good trials; with fewer, their range says little
FEWEST_TRIALS = 10  # complete ones
GOOD_SHARE = 0.25  # of the complete trials are the good ones if nothing tells them apart
WIDER = 0.5  # of the range (of its logarithm), added at an end


def next_space(log: StudyLog) -> str | None:
    """Return a file for the group ``search``; ``None`` while too few trials are complete, or with several objectives.

    Each range spans the values of the good trials: those that can't be told apart from the best, but at most a quarter of
    the complete trials (at least five). Where their values gather at an end, the range is wider there.
    """
    trials = ranked(log)
    if len(log.objectives) > 1 or len(trials) < FEWEST_TRIALS:
        return None
    most = max(FEWEST, math.ceil(GOOD_SHARE * len(trials)))
    good = trials[: max(FEWEST, min(most, len(equals_of_best(log) or trials)))]
    at_edge = {(edge.parameter, edge.is_upper) for edge in widened(log)}
    params: dict[str, Any] = {}
    for name, distribution in log.distributions.items():
        values = [trial.params[name] for trial in good if name in trial.params]
        if values:
            sides = ((name, False) in at_edge, (name, True) in at_edge)
            params[name] = _range(distribution, values, *sides)
    content: dict[str, Any] = {"params": params}
    conditions = read_record(trials[0].folder).conditions
    if kept := {name: each for name, each in conditions.items() if name in params}:
        content["conditions"] = kept
    source = f"# The next space after the search {log.name}, from its best {len(good)} of {len(trials)} complete trials."
    return f"# @package hydra.sweeper\n{source}\n{yaml.safe_dump(content, sort_keys=False, width=1000)}"


def widened(log: StudyLog) -> list[Edge]:
    """Return the ends where good values gather, if they can be moved outward; those of a choice or a rate can't."""
    found = []
    for edge in edges(log):
        distribution = log.distributions[edge.parameter]
        if not isinstance(distribution, CategoricalDistribution):
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            end = distribution.high if edge.is_upper else distribution.low
            if _beyond(distribution, is_upper=edge.is_upper) != end:
                found.append(edge)
    return found


def sentence(found: list[Edge]) -> str:
    """Return where the next space is wider."""
    if not found:
        return "narrower ranges, around the good trials"
    ends = ", ".join(
        f"{edge.parameter} {'above' if edge.is_upper else 'below'} {edge.limit}" for edge in found
    )
    return f"wider ranges where good values gather at an end ({ends}), narrower ones elsewhere"


def _range(distribution: BaseDistribution, values: list[Any], below: bool, above: bool) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        kept = [each for each in distribution.choices if each in values]
        # not choice(...), in which Hydra allows no null
        return kept[0] if len(kept) == 1 else ",".join(map(as_written, kept))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = min(values), max(values)
    if below:
        low = _beyond(distribution, is_upper=False)
    if above:
        high = _beyond(distribution, is_upper=True)
    if low == high:
        return low
    if distribution.step is not None and not distribution.log:
        step = distribution.step
        return (
            f"range({low:.6g}, {high + step / 2:.6g}, {step:.6g})"
            if isinstance(step, float)
            else (f"range({low}, {high + 1}, {step})")
        )
    if isinstance(distribution, IntDistribution):
        interval = f"int(interval({low}, {high}))"
    else:
        # a function of the user's (custom_search_space) may give each trial another range
        low = _rounded(low) if below else max(_rounded(low, ROUND_FLOOR), min(low, distribution.low))
        high = _rounded(high) if above else min(_rounded(high, ROUND_CEILING), max(high, distribution.high))
        interval = f"interval({low}, {high})"
    return f"tag(log, {interval})" if distribution.log else interval


def _rounded(value: float, rounding: str = ROUND_HALF_EVEN) -> float:
    """Return the value with three digits; rounded outward, a range still contains the trial at its end."""
    return float(Context(prec=3, rounding=rounding).create_decimal(repr(float(value))))


def _beyond(distribution: FloatDistribution | IntDistribution, *, is_upper: bool) -> Any:
    """Return an end moved outward; a rate stays between 0 and 1, and a range that starts at 0 still does."""
    low, high = distribution.low, distribution.high
    if distribution.log:
        factor = (high / low) ** WIDER
        end: float = high * factor if is_upper else low / factor
    else:
        step = distribution.step or 0
        room = max(WIDER * (high - low), step)
        if step:
            room = step * round(room / step)
        end = high + room if is_upper else low - room
    if is_upper and isinstance(distribution, FloatDistribution) and low >= 0 and high < 1 <= end:
        return high
    if not is_upper and low >= 0 >= end and not distribution.log:
        return low
    return max(1, round(end)) if isinstance(distribution, IntDistribution) else end
