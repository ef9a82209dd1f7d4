"""The numbers that each picture of a study shows, without drawing them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bert_ft.drawing.parallel_coordinates import Coordinate
from bert_ft.drawing.pareto_front import Front
from bert_ft.drawing.trial_curves import TrialCurve
from bert_ft.drawing.trial_history import History
from bert_ft.drawing.trial_slices import Slice
from bert_ft.drawing.trials import Scale
from bert_ft.drawing.worker_timeline import Bar
from bert_ft.search.results.importance import Importances
from bert_ft.search.results.parameters import Parameter, parameters
from bert_ft.search.results.ranking import front, ranked
from bert_ft.search.results.study_log import StudyLog, TrialLog, seconds_between
from bert_ft.search.results.utilization import lanes_of, stays

OUTLIER = 4.0  # times the spread of the better three quarters
FEWEST = 8  # values; with fewer, all are shown


def core_limits(values: Sequence[float], maximize: bool) -> tuple[float, float] | None:
    """Return limits of an axis on which the good values can be distinguished; ``None``: show everything.

    A few diverged trials would compress all others into one line. The limits exclude them if the worst value is further
    from the best than ``OUTLIER`` times the spread of the better three quarters.
    """
    finite = sorted((value for value in values if math.isfinite(value)), reverse=maximize)
    if len(finite) < FEWEST:
        return None
    best, third, worst = finite[0], finite[math.ceil(0.75 * len(finite)) - 1], finite[-1]
    spread = abs(third - best)
    if spread == 0 or abs(worst - best) <= OUTLIER * spread:
        return None
    ends = (best + 0.15 * (best - third), third - 0.5 * (best - third))
    return min(ends), max(ends)


def outside(values: Sequence[float], limits: tuple[float, float] | None) -> int:
    """Return how many of the values are outside the limits."""
    return 0 if limits is None else sum(not limits[0] <= value <= limits[1] for value in values)


def history(log: StudyLog, place: int) -> History:
    """Return the values of one objective by trial; pruned trials have reports only for a single objective."""
    complete = [(trial.number, trial.values[place]) for trial in log.complete if trial.values]
    complete = [point for point in complete if math.isfinite(point[1])]
    values = [value for _, value in complete]
    best = (np.maximum if log.maximize[place] else np.minimum).accumulate(values).tolist()
    pruned = [(each.number, each.last_reported[1]) for each in log.of_state("pruned") if each.last_reported]
    limits = core_limits(values, log.maximize[place])
    if limits is None and len(set(values)) > 1:  # the low values of pruned trials shouldn't set the scale
        room = 0.12 * (max(values) - min(values))
        limits = (min(values) - room, max(values) + room)
    return History(
        title="",
        y=log.objectives[place],
        complete=complete,
        best=[(number, value) for (number, _), value in zip(complete, best, strict=True)],
        pruned=pruned if len(log.maximize) == 1 else [],
        failed=[trial.number for trial in log.of_state("failed", "lost")],
        limits=limits,
    )


def shown_parameters(log: StudyLog, importances: Importances | None) -> list[Parameter]:
    """Return the parameters with several values among the complete trials, the most important first.

    Importance is by PED-ANOVA, which also judges conditional parameters; those without one come last.
    """
    varied = [
        each
        for each in parameters(log)
        if len({each.place(trial.params[each.name]) for trial in log.complete if each.name in trial.params})
        > 1
    ]
    shares = (importances.ped_anova or importances.fanova) if importances else {}
    return sorted(varied, key=lambda each: -shares.get(each.name, -1.0))


def scale_of(parameter: Parameter) -> Scale:
    """Return the axis of a parameter."""
    return Scale(parameter.name, parameter.low, parameter.high, parameter.is_log, tuple(parameter.choices))


def slices(log: StudyLog, shown: Sequence[Parameter], place: int) -> list[Slice]:
    """Return the objective over each parameter, for the complete trials that have it."""
    found = []
    for parameter in shown:
        trials = [trial for trial in ranked(log) if parameter.name in trial.params]
        found.append(
            Slice(
                scale_of(parameter),
                np.array([parameter.place(trial.params[parameter.name]) for trial in trials]),
                np.array([trial.values[place] for trial in trials if trial.values]),
                np.array([trial.number for trial in trials]),
            )
        )
    return found


def relative_ranks(log: StudyLog) -> NDArray[np.float64]:
    """Return the rank of each ranked trial, from 0 for the best to 1 for the worst; equal values share one."""
    trials = ranked(log)
    if len(trials) < 2:
        return np.zeros(len(trials))
    places: list[int] = []
    for place, trial in enumerate(trials):
        is_tie = place > 0 and trial.values == trials[place - 1].values
        places.append(places[-1] if is_tie else place)
    return np.array(places) / (len(trials) - 1)


def places_of(log: StudyLog, shown: Sequence[Parameter]) -> NDArray[np.float64]:
    """Return the ranked trials' positions on each axis, ``(trials, parameters)``; NaN without the parameter."""
    return np.array(
        [
            [each.place(trial.params[each.name]) if each.name in trial.params else np.nan for each in shown]
            for trial in ranked(log)
        ]
    )


def coordinates(log: StudyLog, shown: Sequence[Parameter]) -> list[Coordinate]:
    """Return an axis for each parameter, and one for a single objective."""
    trials = ranked(log)
    found = [
        Coordinate(
            each.name,
            np.array([each.share(t.params[each.name]) if each.name in t.params else np.nan for t in trials]),
            _labels(each),
        )
        for each in shown
    ]
    if len(log.maximize) == 1:
        found.append(_objective_axis(trials, log.objectives[0], log.maximize[0]))
    return found


def _labels(parameter: Parameter) -> dict[float, str]:
    if parameter.choices:  # several: a shown parameter has several values
        return {place / parameter.high: text for place, text in enumerate(parameter.choices)}
    low, high = parameter.low, parameter.high
    middle = math.sqrt(low * high) if parameter.is_log else (low + high) / 2
    return {0.0: f"{low:.3g}", 0.5: f"{middle:.2g}", 1.0: f"{high:.3g}"}


def _objective_axis(trials: Sequence[TrialLog], name: str, maximize: bool) -> Coordinate:
    values = np.array([trial.values[0] for trial in trials if trial.values])
    limits = core_limits(list(values), maximize)
    low, high = values.min(), values.max()
    if limits is not None:
        low, high = (limits[0], high) if maximize else (low, limits[1])
    shares = np.clip((values - low) / (high - low), 0, 1) if high > low else np.full(len(values), 0.5)
    labels = {0.0: f"{low:.4g}", 1.0: f"{high:.4g}"} if high > low else {0.5: f"{low:.4g}"}
    return Coordinate(name, shares, labels)


def curves(log: StudyLog) -> list[TrialCurve]:
    """Return the reports of each trial; the best trial is marked."""
    best = [trial.number for trial in ranked(log)[:1]]
    return [
        TrialCurve(
            trial.state,
            np.array(list(trial.reported)),
            np.array(list(trial.reported.values())),
            trial.number in best,
        )
        for trial in log.trials
        if trial.reported
    ]


def timeline(log: StudyLog) -> tuple[list[Bar], list[str]]:
    """Return a bar for each trial that started, and the workers' names from the top."""
    found = stays(log)
    lanes = lanes_of(found)
    bars = []
    for stay in found:
        start, seconds = seconds_between(found[0].start, stay.start), seconds_between(stay.start, stay.end)
        bars.append(Bar(lanes.index(stay.lane), start, seconds, stay.trial.state, stay.trial.number))
    return bars, lanes


def fronts(log: StudyLog) -> list[Front]:
    """Return each pair of objectives."""
    trials = ranked(log)
    best = {trial.number for trial in front(log)}
    names = [
        f"{name} ({'higher' if more else 'lower'} is better)"
        for name, more in zip(log.objectives, log.maximize, strict=True)
    ]
    values = np.array([trial.values for trial in trials])
    is_front = np.array([trial.number in best for trial in trials])
    numbers = np.array([trial.number for trial in trials])
    return [
        Front(names[one], names[other], values[:, [one, other]], is_front, numbers)
        for one, other in combinations(range(len(names)), 2)
    ]
