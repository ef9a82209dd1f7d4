"""The pictures of a study."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from bert_ft.drawing.importance_bars import ImportancePanel, draw_importances
from bert_ft.drawing.parallel_coordinates import draw_parallel_coordinates
from bert_ft.drawing.pareto_front import draw_fronts
from bert_ft.drawing.rank_pairs import draw_rank_pairs
from bert_ft.drawing.trial_curves import draw_trial_curves
from bert_ft.drawing.trial_history import draw_history
from bert_ft.drawing.trial_slices import draw_slices
from bert_ft.drawing.worker_timeline import draw_timeline
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import PlotSpec
from bert_ft.search.results import plot_data
from bert_ft.search.results.importance import Importances
from bert_ft.search.results.ranking import front, ranked
from bert_ft.search.results.study_log import StudyLog
from bert_ft.search.results.utilization import utilizations, whole_utilization

MAX_SLICES = 24  # parameters with a panel each, the most important ones
MAX_PAIRED = 4  # likewise, with each other
MAX_COORDINATES = 10  # likewise, side by side
BEST_SHARE = 0.1  # of the complete trials are drawn thick,
MAX_THICK = 10  # and no more of them
MAX_CURVES = 200  # trials whose reports are drawn, the latest ones


@dataclass(frozen=True)
class StudyView:
    """What the pictures are made of.

    Attributes:
        log: the study.
        importances: of its parameters, for each objective.
    """

    log: StudyLog
    importances: list[Importances]


def plots(view: StudyView) -> dict[str, list[PlotSpec[StudyView]]]:
    """Section → the pictures that it can have."""
    several = len(view.log.objectives) > 1
    slices = [
        PlotSpec(
            "slices" if place == 0 else f"slices_{place}",
            f"Each parameter alone: {name}" if several else "Each parameter alone",
            "The star is the best trial. A flat cloud is a parameter that doesn't matter; dark points on one side say "
            "where the search went, and a best value at an end of the range that it should be wider.",
            _slices(place),
        )
        for place, name in enumerate(view.log.objectives)
    ]
    return {
        "Progress": [HISTORY, *([FRONT] if several else []), CURVES],
        "Parameters": [IMPORTANCE, *slices, PAIRS, COORDINATES],
        "Workers": [TIMELINE],
    }


def history(view: StudyView) -> Figure:
    """The value of each trial, and the best so far."""
    log = view.log
    if not log.complete and not any(trial.last_reported for trial in log.of_state("pruned")):
        raise NotLogged("no trial has a value yet")
    panels = []
    for place, name in enumerate(log.objectives):
        panel = plot_data.history(log, place)
        title = f"{name}: no trial is complete"
        if panel.best:
            value = panel.best[-1][1]
            number = next(number for number, each in panel.best if each == value)
            title = f"{name}: best {value:.4g}, in trial {number}; {len(panel.complete)} complete"
        if outside := plot_data.outside(
            [value for _, value in (*panel.complete, *panel.pruned)], panel.limits
        ):
            title += f" ({outside} beyond the border)"
        panels.append(replace(panel, title=title))
    return draw_history(panels)


def pareto_fronts(view: StudyView) -> Figure:
    """The objectives against each other."""
    if not ranked(view.log):
        raise NotLogged("no trial is complete yet")
    count = len(front(view.log))
    verb = "trial has" if count == 1 else "trials have"
    return draw_fronts(
        plot_data.fronts(view.log), f"{count} {verb} no other that is better in all objectives"
    )


def curves(view: StudyView) -> Figure:
    """The values that the trials reported while they ran."""
    found = plot_data.curves(view.log)
    if not found:
        raise NotLogged("no trial reported a value while it ran")
    maximize = view.log.maximize[0]
    limits = plot_data.core_limits([value for each in found for value in each.values], maximize)
    pruned = [each for each in found if each.state == "pruned"]
    title = f"{len(found)} trials reported; {len(pruned)} were pruned"
    if pruned:
        title += f", after {np.median([each.steps[-1] for each in pruned]):,.0f} steps (median)"
    if len(found) > MAX_CURVES:
        best = [each for each in found[:-MAX_CURVES] if each.is_best]
        found, title = [*best, *found[-MAX_CURVES:]], f"{title}; the last {MAX_CURVES} are drawn"
    return draw_trial_curves(found, view.log.objectives[0], title, limits)


def importance(view: StudyView) -> Figure:
    """What fANOVA and PED-ANOVA say."""
    panels = []
    for each in view.importances:
        shares = {
            kind: found for kind, found in (("fANOVA", each.fanova), ("PED-ANOVA", each.ped_anova)) if found
        }
        if shares:
            name = view.log.objectives[each.objective]
            tops = " and ".join(dict.fromkeys(max(found, key=found.__getitem__) for found in shares.values()))
            panels.append(ImportancePanel(f"{name}: {tops} matter{'s' * (' and ' not in tops)} most", shares))
    if not panels:
        reasons = dict.fromkeys(reason for each in view.importances for reason in each.missing)
        raise NotLogged("; ".join(reasons))
    sums: dict[str, float] = {}
    for panel in panels:
        for found in panel.shares.values():
            for name, share in found.items():
                sums[name] = max(sums.get(name, 0.0), share)
    return draw_importances(panels, sorted(sums, key=lambda name: -sums[name]))


def _slices(place: int) -> Callable[[StudyView], Figure]:
    def draw(view: StudyView) -> Figure:
        log = view.log
        shown = plot_data.by_importance(plot_data.shown_parameters(log), _importances(view, place))
        found = plot_data.slices(log, shown[:MAX_SLICES], place)
        if not found:
            raise NotLogged("no parameter has two values among complete trials")
        values = [trial.values[place] for trial in ranked(log) if trial.values]
        limits = plot_data.core_limits(values, log.maximize[place])
        best = (max if log.maximize[place] else min)(values)
        number = min(trial.number for trial in ranked(log) if trial.values and trial.values[place] == best)
        title = f"{log.objectives[place]} over each parameter" + _left_out(plot_data.outside(values, limits))
        return draw_slices(found, log.objectives[place], title, number, limits)

    return draw


def rank_pairs(view: StudyView) -> Figure:
    """The most important parameters in pairs."""
    shown = plot_data.by_importance(plot_data.shown_parameters(view.log), _importances(view, 0))[:MAX_PAIRED]
    if len(shown) < 2:
        raise NotLogged("fewer than two parameters have two values among complete trials")
    scales = [plot_data.scale_of(each) for each in shown]
    title = "The rank of each trial by two parameters at a time"
    places, ranks = plot_data.places_of(view.log, shown), plot_data.relative_ranks(view.log)
    return draw_rank_pairs(scales, places, ranks, title)


def parallel_coordinates(view: StudyView) -> Figure:
    """All settings of all complete trials."""
    shown = plot_data.by_importance(plot_data.shown_parameters(view.log), _importances(view, 0))
    if len(shown) < 2:
        raise NotLogged("fewer than two parameters have two values among complete trials")
    ranks = plot_data.relative_ranks(view.log)
    count = min(MAX_THICK, max(1, math.ceil(BEST_SHARE * len(ranks))))
    title = f"The settings of {len(ranks)} trials; the best {count} thick"
    return draw_parallel_coordinates(
        plot_data.coordinates(view.log, shown[:MAX_COORDINATES]), ranks, count, title
    )


def timeline(view: StudyView) -> Figure:
    """When each worker ran what."""
    bars, lanes = plot_data.timeline(view.log)
    if not bars:
        raise NotLogged("no trial has begun yet")
    idle = whole_utilization(utilizations(view.log)).idle_share
    title = f"{len(lanes)} worker{'s' * (len(lanes) > 1)}"
    if math.isfinite(idle):
        title += f", without a trial for {100 * idle:.1f}% of the time"
    return draw_timeline(bars, lanes, title)


def _importances(view: StudyView, place: int) -> Importances | None:
    return next((each for each in view.importances if each.objective == place), None)


def _left_out(count: int) -> str:
    return f" ({count} far off {'is' if count == 1 else 'are'} not shown)" if count else ""


HISTORY = PlotSpec(
    "history",
    "Optimization history",
    "The line is the best value so far: where it stays level, more trials bring little.",
    history,
)
FRONT = PlotSpec(
    "pareto_front",
    "Objectives against each other",
    "Of the diamonds none is beaten in everything: to choose among them is yours.",
    pareto_fronts,
)
CURVES = PlotSpec(
    "intermediate_values",
    "Values while training",
    "A cross is where a trial was pruned: its line should lie among the worse ones of that step.",
    curves,
)
IMPORTANCE = PlotSpec(
    "importance",
    "Importance of the parameters",
    "fANOVA: the share of the value's variance over the whole range, bad regions included. PED-ANOVA: the share in "
    "being among the best trials. A parameter that both put last can be left at its default.",
    importance,
)
PAIRS = PlotSpec(
    "rank_pairs",
    "Parameters in pairs",
    "The most important parameters. Dark points in a band aslant are two parameters that go together, such as a rate "
    "and a batch size.",
    rank_pairs,
)
COORDINATES = PlotSpec(
    "parallel_coordinates",
    "All settings together",
    "A line is a trial. Where the dark lines meet, the good trials agree.",
    parallel_coordinates,
)
TIMELINE = PlotSpec(
    "timeline",
    "Workers",
    "White between the bars is time without a trial.",
    timeline,
)
