"""The tables of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bert_ft.drawing.style import capitalized
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.table import Cell, Table, duration, number, share
from bert_ft.search.results.certainty import error_of
from bert_ft.search.results.confirmation import confirmation
from bert_ft.search.results.importance import RESAMPLES, Importances
from bert_ft.search.results.range_edges import Edge, edges
from bert_ft.search.results.ranking import front, ranked
from bert_ft.search.results.statistics import Statistics
from bert_ft.search.results.study_log import StudyLog, TrialLog
from bert_ft.search.results.utilization import utilizations, whole_utilization

MAX_BEST = 5  # trials side by side
MAX_FAILURES = 100


def facts(log: StudyLog, found: Statistics) -> dict[str, str]:
    """Return the progress of the search and its best results."""
    time = duration(found.wall_seconds)
    if found.seconds_left and log.of_state("running"):
        time += f"; about {duration(found.seconds_left)} left"
    lines = {"trials": _progress(log, found)} | _objectives(log) | {"time": time}
    at_edge = [
        f"{edge.parameter} at the {_end(edge)} end of its range ({edge.limit}) in {edge.num_there} of the best {edge.num_best}"
        for edge in edges(log)
    ]
    return lines | ({"at an edge": "; ".join(at_edge)} if at_edge else {})


def _objectives(log: StudyLog) -> dict[str, str]:
    """Return the objectives, and their best values so far."""
    best = ranked(log)
    directions = ["maximized" if more else "minimized" for more in log.maximize]
    named = [f"{name} ({direction})" for name, direction in zip(log.objectives, directions, strict=True)]
    if len(named) > 1:
        lines = {f"objective {place}": text for place, text in enumerate(named, start=1)}
        if best:
            numbers = ", ".join(str(trial.number) for trial in front(log))
            lines["best"] = f"trials {numbers}: no other trial dominates them"
        return lines
    if not best or not best[0].values:
        return {"objective": named[0]}
    value = f"{log.objectives[0]} {best[0].values[0]:.4f}"
    lines = {"best": f"{value} in trial {best[0].number} ({directions[0]})"}
    first = next((trial for trial in log.complete if trial.as_configured is not None), None)
    if first is not None and first.values:
        drawn = [name for name in first.as_configured or () if name in first.params]
        except_for = f" (except {', '.join(drawn)})" if drawn else ""
        lines["as configured"] = f"{first.values[0]:.4f} in trial {first.number}{except_for}"
    return lines


def _end(edge: Edge) -> str:
    return "upper" if edge.is_upper else "lower"


def _progress(log: StudyLog, found: Statistics) -> str:
    counts = {state: count for state, count in found.counts.items() if count}
    parts = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    ended = sum(counts.get(state, 0) for state in ("complete", "pruned", "failed"))
    whole = f"{ended:,}" if log.num_wanted is None else f"{ended:,} of {log.num_wanted:,}"
    return f"{whole} ended ({parts})" if parts else "none yet"


def best_trials(log: StudyLog) -> Table:
    """Return the best trials side by side, with all their settings."""
    best = ranked(log)[:MAX_BEST]
    if not best:
        raise NotLogged("no trial is complete yet")
    rows = [
        [Cell(name), *(number(trial.values[place] if trial.values else None) for trial in best)]
        for place, name in enumerate(log.objectives)
    ]
    if any(error_of(log, trial) is not None for trial in best):
        rows.append([Cell("standard error"), *(number(error_of(log, trial)) for trial in best)])
    rows.append([Cell("seconds"), *(number(trial.seconds, 1) for trial in best)])
    for name in log.distributions:
        rows.append([Cell(name), *(replace(_setting(trial, name), is_number=True) for trial in best)])
    rows.append([Cell("folder"), *(Cell(_place(trial, log), is_number=True) for trial in best)])
    reading = "" if len(log.objectives) == 1 else "Trials that no other trial dominates come first."
    return Table("Best trials", reading, ["", *(f"trial {trial.number}" for trial in best)], rows)


def further_seeds(log: StudyLog) -> Table:
    """Return the values of the best and of the configured settings with further seeds."""
    found = confirmation(log)
    if found is None:
        raise NotLogged(log.not_confirmed or "no further seeds were trained yet")
    pairs = zip(found.seeds, found.best, found.configured, strict=True)
    rows = [[number(seed), number(best), number(ours), number(best - ours)] for seed, best, ours in pairs]
    columns = ["seed", f"trial {found.trial}", "configured", "difference"]
    return Table("With further seeds", f"{capitalized(found.sentence())}.", columns, rows)


def at_the_edge(log: StudyLog) -> Table:
    """Return the parameters whose best values are at an end of their range."""
    found = edges(log)
    if not found:
        raise NotLogged("no parameter's best values are at an end of its range")
    rows = []
    for edge in found:
        numbers = (edge.limit, f"{edge.num_there} of {edge.num_best}", edge.best_value)
        rows.append(
            [Cell(edge.parameter), Cell(_end(edge)), *(Cell(text, is_number=True) for text in numbers)]
        )
    reading = (
        "An end is the outer twentieth of a range. Better values may lie beyond it: widen the range there, unless "
        "the parameter itself ends there, such as a rate at 0."
    )
    columns = ["parameter", "end", "limit", "best trials there", "value of the best"]
    return Table("At the edge", reading, columns, rows)


def importance(log: StudyLog, found: Sequence[Importances]) -> Table:
    """Return the importances as numbers, and the parameters that aren't judged."""
    several = len(log.objectives) > 1
    rows = []
    for each in found:
        for name in dict.fromkeys([*each.ped_anova, *each.fanova]):
            cells = []
            for shares, spread in (
                (each.fanova, each.fanova_spread),
                (each.ped_anova, each.ped_anova_spread),
            ):
                cells += [share(shares.get(name, math.nan)), number(spread.get(name), 3)]
            rows.append([*[Cell(log.objectives[each.objective])] * several, Cell(name), *cells])
    reasons = ". ".join(dict.fromkeys(capitalized(reason) for each in found for reason in each.missing))
    if not rows:
        raise NotLogged(reasons[:1].lower() + reasons[1:])
    reading = f"±: standard deviation over {RESAMPLES} resamples of the trials."
    if reasons:
        reading += f" {reasons}."
    columns = [*["objective"] * several, "parameter", "fANOVA", "±", "PED-ANOVA", "±"]
    return Table("Importance as numbers", reading, columns, rows)


def trial_statistics(log: StudyLog, found: Statistics) -> Table:
    """Return counts, rates and durations."""
    if not log.trials:
        raise NotLogged("no trial has started yet")
    rows = [[Cell(f"{state} trials"), number(count)] for state, count in found.counts.items() if count]

    def add(name: str, text: str, known: float | None = 0.0) -> None:
        if known is not None:
            rows.append([Cell(name), Cell(text, is_number=True)])

    add("pruning rate", f"{100 * (found.pruning_rate or 0):.1f}%", found.pruning_rate)
    add("worker time saved by pruning (estimated)", duration(found.seconds_saved or 0), found.seconds_saved)
    for state, spread in found.durations.items():
        times = f"{duration(spread.median)} ({duration(spread.least)} to {duration(spread.most)})"
        add(f"duration of {state} trials, median (range)", times)
    spent = {state: spread.total for state, spread in found.durations.items()}
    for state in ("pruned", "failed", "lost"):
        if state in spent:
            percent = 100 * spent[state] / (sum(spent.values()) or 1)
            add(f"time in {state} trials", f"{duration(spent[state])}, {percent:.1f}%")
    add("time to the first step, median", f"{found.to_first_step or 0:.1f} s", found.to_first_step)
    add("time in which the search ran", duration(found.wall_seconds))
    add("workers' idle share", f"{100 * (found.idle_share or 0):.1f}%", found.idle_share)
    reading = (
        "The pruning rate excludes failed trials. The saved time is estimated from the pace of each pruned "
        "trial; if that is unknown, from the median duration of the complete ones."
    )
    return Table("Trial statistics", reading, ["", ""], rows)


def workers(log: StudyLog) -> Table:
    """Return each worker's times."""
    found = utilizations(log)
    if not found:
        raise NotLogged("no trial has started yet")
    rows = []
    for each in (*found, *([whole_utilization(found)] if len(found) > 1 else [])):
        seconds = [number(part, 1) for part in (each.busy, each.between, each.after)]
        rows.append([Cell(each.lane), number(each.num_trials), *seconds, share(each.idle_share)])
    columns = ["worker", "trials", "busy (s)", "between trials (s)", "after the last (s)", "idle share"]
    reading = "Periods of over a minute without any trial are breaks in the search and aren't counted."
    return Table("Time of the workers", reading, columns, rows)


def failures(log: StudyLog) -> Table:
    """Return the trials that failed and the reasons, the latest first."""
    found = log.of_state("failed", "lost")[::-1]
    if not found:
        raise NotLogged("no trial failed")
    rows = []
    for trial in found[:MAX_FAILURES]:
        reason = trial.reason or ("its process was killed" if trial.state == "lost" else "unknown")
        worker = "-" if trial.worker is None else str(trial.worker)
        texts = (Cell(reason), number(trial.seconds, 1), Cell(worker), Cell(_place(trial, log)))
        rows.append([number(trial.number), *texts])
    reading = "" if len(found) <= MAX_FAILURES else f"The latest {MAX_FAILURES} of {len(found)}."
    return Table("Failures", reading, ["trial", "reason", "seconds", "worker", "folder"], rows)


def all_trials(log: StudyLog) -> Table:
    """Return every trial with its settings."""
    if not log.trials:
        raise NotLogged("no trial has started yet")
    rows = []
    for trial in log.trials:
        last = number(trial.last_reported[1] if trial.last_reported else None)
        values = map(number, trial.values or [None] * len(log.objectives))
        settings = [_setting(trial, name) for name in log.distributions]
        state = [number(trial.number), Cell(trial.state)]
        rows.append([*state, *values, last, number(trial.seconds, 1), *settings])
    columns = ["trial", "state", *log.objectives, "last report", "seconds", *log.distributions]
    return Table("All trials", "Also in trials.csv.", columns, rows)


def _place(trial: TrialLog, log: StudyLog) -> str:
    """Return the trial's folder, relative to the sweep's folder if it is inside."""
    if trial.folder is None:
        return "-"
    inside = log.folder is not None and Path(trial.folder).is_relative_to(log.folder)
    return str(Path(trial.folder).relative_to(log.folder or "")) if inside else trial.folder


def _setting(trial: TrialLog, name: str) -> Cell:
    if name not in trial.params:
        return Cell("-")
    value: Any = trial.params[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value))
    return Cell(f"{value:.4g}" if isinstance(value, float) else str(value), is_number=True)
