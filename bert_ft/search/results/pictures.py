"""The pictures of a study."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from bert_ft.drawing.importance_bars import ImportancePanel, draw_importances
from bert_ft.drawing.parallel_coordinates import draw_parallel_coordinates
from bert_ft.drawing.pareto_front import draw_fronts
from bert_ft.drawing.rank_pairs import draw_rank_pairs
from bert_ft.drawing.seed_pairs import draw_seed_pairs
from bert_ft.drawing.trial_curves import draw_trial_curves
from bert_ft.drawing.trial_history import draw_history
from bert_ft.drawing.trial_slices import draw_slices
from bert_ft.drawing.worker_timeline import draw_timeline
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import PlotSpec
from bert_ft.search.results import plot_data
from bert_ft.search.results.confirmation import confirmation
from bert_ft.search.results.importance import Importances
from bert_ft.search.results.parameters import Parameter
from bert_ft.search.results.ranking import front, ranked
from bert_ft.search.results.study_log import StudyLog
from bert_ft.search.results.utilization import utilizations, whole_utilization

MAX_SLICES = 24  # parameters with their own panel, the most important ones
MAX_PAIRED = 4  # parameters in pairs
MAX_COORDINATES = 10  # parameters side by side
BEST_SHARE = 0.1  # of the complete trials are drawn thick,
MAX_THICK = 10  # but at most so many
MAX_CURVES = 200  # trials whose reports are drawn, the latest ones


@dataclass(frozen=True)
class StudyView:
    """The data of the pictures: a study, and the importances of its parameters for each objective."""

    log: StudyLog
    importances: list[Importances]

    def shown_parameters(self, place: int, most: int) -> list[Parameter]:
        """Return the most important parameters for an objective."""
        found = next((each for each in self.importances if each.objective == place), None)
        return plot_data.shown_parameters(self.log, found)[:most]


def plots(view: StudyView) -> dict[str, list[PlotSpec[StudyView]]]:
    """Return section → the pictures that it can have."""
    several = len(view.log.objectives) > 1
    slices_of = [
        PlotSpec(
            "slices" if place == 0 else f"slices_{place}",
            f"Each parameter by itself: {name}" if several else "Each parameter by itself",
            "The star is the best trial. A flat cloud means that the parameter doesn't matter; dark points on one side show "
            "where the search went, and a best value at an end of the range suggests a wider range.",
            functools.partial(slices, place=place),
        )
        for place, name in enumerate(view.log.objectives)
    ]
    return {
        "Progress": [HISTORY, *([FRONT] if several else []), *([] if several else [SEEDS]), CURVES],
        "Parameters": [IMPORTANCE, *slices_of, PAIRS, COORDINATES],
        "Workers": [TIMELINE],
    }


def history(view: StudyView) -> Figure:
    """Draw the value of each trial, and the best so far."""
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
        points = [value for _, value in (*panel.complete, *panel.pruned)]
        if outside := plot_data.outside(points, panel.limits):
            title += f" ({outside} beyond the border)"
        panels.append(replace(panel, title=title))
    return draw_history(panels)


def pareto_fronts(view: StudyView) -> Figure:
    """Draw the objectives against each other."""
    if not ranked(view.log):
        raise NotLogged("no trial is complete yet")
    count = len(front(view.log))
    title = f"{count} trial{'s' * (count > 1)} that no other trial dominates"
    return draw_fronts(plot_data.fronts(view.log), title)


def curves(view: StudyView) -> Figure:
    """Draw the values that the trials reported during training."""
    found = plot_data.curves(view.log)
    if not found:
        raise NotLogged("no trial reported a value during training")
    values = [value for each in found for value in each.values]
    limits = plot_data.core_limits(values, view.log.maximize[0])
    pruned = [each.steps[-1] for each in found if each.state == "pruned"]
    title = f"{len(found)} trials reported; {len(pruned)} were pruned"
    if pruned:
        title += f", after {np.median(pruned):,.0f} steps (median)"
    if len(found) > MAX_CURVES:
        best = [each for each in found[:-MAX_CURVES] if each.is_best]
        found, title = [*best, *found[-MAX_CURVES:]], f"{title}; the last {MAX_CURVES} are drawn"
    return draw_trial_curves(found, view.log.objectives[0], title, limits)


def further_seeds(view: StudyView) -> Figure:
    """Draw the best and the configured settings with further seeds."""
    found = confirmation(view.log)
    if found is None:
        raise NotLogged(view.log.not_confirmed or "no further seeds were trained yet")
    interval = None if found.low is None or found.high is None else (found.low, found.gain, found.high)
    names = ("configured", f"trial {found.trial}")
    metric, title = view.log.objectives[0], f"Further seeds: {found.verdict}"
    return draw_seed_pairs(found.seeds, found.configured, found.best, names, metric, title, interval)


def importance(view: StudyView) -> Figure:
    """Draw the importances by fANOVA and PED-ANOVA."""
    panels = []
    most: dict[str, float] = {}  # parameter → its largest share
    for each in view.importances:
        both = {"fANOVA": each.fanova, "PED-ANOVA": each.ped_anova}
        shares = {kind: found for kind, found in both.items() if found}
        if shares:
            name = view.log.objectives[each.objective]
            spreads = {"fANOVA": each.fanova_spread, "PED-ANOVA": each.ped_anova_spread}
            tops = " and ".join(dict.fromkeys(max(found, key=found.__getitem__) for found in shares.values()))
            panels.append(
                ImportancePanel(f"{name}: {tops} matter{'s' * (' and ' not in tops)} most", shares, spreads)
            )
        for found in shares.values():
            most |= {name: max(most.get(name, 0.0), share) for name, share in found.items()}
    if not panels:
        reasons = dict.fromkeys(reason for each in view.importances for reason in each.missing)
        raise NotLogged("; ".join(reasons))
    return draw_importances(panels, sorted(most, key=lambda name: -most[name]))


def slices(view: StudyView, place: int = 0) -> Figure:
    """Draw one objective over each parameter."""
    log = view.log
    found = plot_data.slices(log, view.shown_parameters(place, MAX_SLICES), place)
    if not found:
        raise NotLogged("no parameter has two values among complete trials")
    values = [trial.values[place] for trial in ranked(log) if trial.values]
    limits = plot_data.core_limits(values, log.maximize[place])
    best = (max if log.maximize[place] else min)(values)
    number = min(trial.number for trial in ranked(log) if trial.values and trial.values[place] == best)
    title = f"{log.objectives[place]} over each parameter"
    if count := plot_data.outside(values, limits):
        title += f" ({count} outlier{'' if count == 1 else 's'} not shown)"
    return draw_slices(found, log.objectives[place], title, number, limits)


def rank_pairs(view: StudyView) -> Figure:
    """Draw the most important parameters in pairs."""
    shown = _several(view, MAX_PAIRED)
    scales = [plot_data.scale_of(each) for each in shown]
    title = "The rank of each trial by two parameters at a time"
    places, ranks = plot_data.places_of(view.log, shown), plot_data.relative_ranks(view.log)
    return draw_rank_pairs(scales, places, ranks, title)


def parallel_coordinates(view: StudyView) -> Figure:
    """Draw all settings of all complete trials."""
    axes = plot_data.coordinates(view.log, _several(view, MAX_COORDINATES))
    ranks = plot_data.relative_ranks(view.log)
    count = min(MAX_THICK, max(1, math.ceil(BEST_SHARE * len(ranks))))
    title = f"The settings of {len(ranks)} trials; the best {count} thick"
    return draw_parallel_coordinates(axes, ranks, count, title)


def _several(view: StudyView, most: int) -> list[Parameter]:
    shown = view.shown_parameters(0, most)
    if len(shown) < 2:
        raise NotLogged("fewer than two parameters have two values among complete trials")
    return shown


def timeline(view: StudyView) -> Figure:
    """Draw when each worker ran which trial."""
    bars, lanes = plot_data.timeline(view.log)
    if not bars:
        raise NotLogged("no trial has started yet")
    idle = whole_utilization(utilizations(view.log)).idle_share
    title = f"{len(lanes)} worker{'s' * (len(lanes) > 1)}"
    if math.isfinite(idle):
        title += f", without a trial for {100 * idle:.1f}% of the time"
    return draw_timeline(bars, lanes, title)


HISTORY = PlotSpec(
    "history",
    "Optimization history",
    "The line is the best value so far: if it stays level, more trials help little.",
    history,
)
FRONT = PlotSpec(
    "pareto_front",
    "Objectives against each other",
    "The diamonds are the trials that no other trial beats in all objectives; choose among them.",
    pareto_fronts,
)
SEEDS = PlotSpec(
    "further_seeds",
    "The best and the configured settings with further seeds",
    "The value of the best trial was chosen for being high; these weren't. If the interval holds 0, the search may have gained "
    "nothing.",
    further_seeds,
)
CURVES = PlotSpec(
    "intermediate_values",
    "Values during training",
    "A cross shows where a trial was pruned: its line should be among the worse ones at that step.",
    curves,
)
IMPORTANCE = PlotSpec(
    "importance",
    "Importance of the parameters",
    "fANOVA: the share of the value's variance over the whole range, including its bad regions; a pruned "
    "trial counts with its last reported value. PED-ANOVA: how much the parameter decides whether a trial is "
    "among the best. The whiskers are the spread over resamples of the trials. A parameter that is last in "
    "both can stay at its default.",
    importance,
)
PAIRS = PlotSpec(
    "rank_pairs",
    "Parameters in pairs",
    "The most important parameters. A diagonal band of dark points means that the two parameters interact, as a learning "
    "rate and a batch size may.",
    rank_pairs,
)
COORDINATES = PlotSpec(
    "parallel_coordinates",
    "All settings together",
    "Each line is a trial. Where the dark lines meet, the good trials agree.",
    parallel_coordinates,
)
TIMELINE = PlotSpec("timeline", "Workers", "White between the bars is time without a trial.", timeline)
