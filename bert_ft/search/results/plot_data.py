"""What each picture of a study shows, as numbers; drawing is elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
from bert_ft.search.results.ranking import best_so_far, front, ranked
from bert_ft.search.results.study_log import StudyLog, TrialLog, seconds_between
from bert_ft.search.results.utilization import lanes_of, stays

OUTLIER = 4.0  # times the spread of the better three quarters: what is further away isn't shown in full
FEWEST = 8  # values, below which all are shown


def core_limits(values: Sequence[float], maximize: bool) -> tuple[float, float] | None:
    """Limits of an axis on which the good values can be told apart; ``None``: show everything.

    A few diverged trials would press all others into one line. The limits leave them out where the worst value is
    further from the best than four times the spread of the better three quarters.
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
    """How many of the values the limits leave out."""
    return 0 if limits is None else sum(not limits[0] <= value <= limits[1] for value in values)


def history(log: StudyLog, place: int) -> History:
    """The values of one objective by trial; only a single objective has reports of pruned trials."""
    complete = [(trial.number, trial.values[place]) for trial in log.complete if trial.values]
    complete = [point for point in complete if math.isfinite(point[1])]
    best = best_so_far([value for _, value in complete], log.maximize[place])
    pruned = [
        (trial.number, trial.last_reported[1])
        for trial in log.of_state("pruned")
        if trial.last_reported is not None
    ]
    values = [value for _, value in complete]
    limits = core_limits(values, log.maximize[place])
    if limits is None and len(set(values)) > 1:  # pruned trials, which never came far, don't set the scale
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


def shown_parameters(log: StudyLog) -> list[Parameter]:
    """Those that take more than one value among the complete trials."""
    return [
        each
        for each in parameters(log)
        if len({each.place(trial.params[each.name]) for trial in log.complete if each.name in trial.params})
        > 1
    ]


def by_importance(found: Sequence[Parameter], importances: Importances | None) -> list[Parameter]:
    """The parameters in the order of their importance, by PED-ANOVA, which judges conditional ones too; unknown ones last."""
    shares = (importances.ped_anova or importances.fanova) if importances else {}
    return sorted(found, key=lambda each: -shares.get(each.name, -1.0))


def scale_of(parameter: Parameter) -> Scale:
    """The axis of a parameter."""
    return Scale(parameter.name, parameter.low, parameter.high, parameter.is_log, tuple(parameter.choices))


def slices(log: StudyLog, shown: Sequence[Parameter], place: int) -> list[Slice]:
    """The objective over each parameter, of the complete trials that have it."""
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
    """Of the ranked trials: from 0 for the best to 1 for the worst; equal values have the same."""
    trials = ranked(log)
    if len(trials) < 2:
        return np.zeros(len(trials))
    places: list[int] = []
    for place, trial in enumerate(trials):
        is_tie = place > 0 and trial.values == trials[place - 1].values
        places.append(places[-1] if is_tie else place)
    return np.array(places) / (len(trials) - 1)


def places_of(log: StudyLog, shown: Sequence[Parameter]) -> NDArray[np.float64]:
    """Where the ranked trials stand on each parameter → ``(trials, parameters)``; NaN where one hasn't it."""
    return np.array(
        [
            [each.place(trial.params[each.name]) if each.name in trial.params else np.nan for each in shown]
            for trial in ranked(log)
        ]
    ).reshape(len(ranked(log)), len(shown))


def coordinates(log: StudyLog, shown: Sequence[Parameter]) -> list[Coordinate]:
    """An axis for each parameter, and one for the objective where there is a single one."""
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
    if parameter.choices:
        last = max(len(parameter.choices) - 1, 1)
        is_single = len(parameter.choices) == 1
        return {0.5 if is_single else place / last: text for place, text in enumerate(parameter.choices)}
    if not parameter.low < parameter.high:
        return {0.5: f"{parameter.low:g}"}
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
    """What the trials reported, the best one named."""
    best = [trial.number for trial in ranked(log)[:1]]
    return [
        TrialCurve(
            trial.state,
            np.array(list(trial.reported)),
            np.array(list(trial.reported.values())),
            trial.number in best,
        )
        for trial in log.trials
        if trial.reported and trial.state != "waiting"
    ]


def timeline(log: StudyLog) -> tuple[list[Bar], list[str]]:
    """A bar for each trial that began, and the workers' names from the top."""
    found = stays(log)
    lanes = lanes_of(found)
    return [
        Bar(
            lanes.index(stay.lane),
            seconds_between(found[0].start, stay.start),
            stay.seconds,
            stay.trial.state,
            stay.trial.number,
        )
        for stay in found
    ], lanes


def fronts(log: StudyLog) -> list[Front]:
    """Each pair of objectives."""
    trials = ranked(log)
    best = {trial.number for trial in front(log)}
    better = [
        f"{name} ({'more' if more else 'less'} is better)"
        for name, more in zip(log.objectives, log.maximize, strict=True)
    ]
    values = np.array([trial.values for trial in trials]).reshape(len(trials), len(better))
    return [
        Front(
            better[one],
            better[other],
            values[:, [one, other]],
            np.array([trial.number in best for trial in trials], dtype=bool),
            np.array([trial.number for trial in trials]),
        )
        for one in range(len(better))
        for other in range(one + 1, len(better))
    ]
