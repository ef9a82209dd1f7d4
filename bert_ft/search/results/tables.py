"""The tables of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bert_ft.drawing.style import capitalized
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.table import Cell, Table, number, share
from bert_ft.search.results.importance import Importances
from bert_ft.search.results.range_edges import Edge, edges
from bert_ft.search.results.ranking import front, ranked
from bert_ft.search.results.statistics import Statistics
from bert_ft.search.results.study_log import StudyLog, TrialLog
from bert_ft.search.results.utilization import utilizations, whole_utilization

MAX_BEST = 5  # trials that stand beside each other
MAX_FAILURES = 100


def facts(log: StudyLog, found: Statistics) -> dict[str, str]:
    """How far the search is and what it reached."""
    time = duration(found.wall_seconds)
    if found.seconds_left and log.of_state("running"):
        time += f"; about {duration(found.seconds_left)} left"
    lines = {"trials": _progress(log, found)} | _objectives(log) | {"time": time}
    if at_edge := [_in_words(edge) for edge in edges(log)]:
        lines["at an edge"] = "; ".join(at_edge)
    return lines


def _objectives(log: StudyLog) -> dict[str, str]:
    """What is optimized, and the best so far."""
    best = ranked(log)
    directions = ["maximized" if more else "minimized" for more in log.maximize]
    if len(directions) == 1:
        (name,), (direction,) = log.objectives, directions
        if not best or not best[0].values:
            return {"objective": f"{name} ({direction})"}
        lines = {"best": f"{name} {best[0].values[0]:.4f} in trial {best[0].number} ({direction})"}
        first = next((trial for trial in log.complete if trial.as_configured is not None), None)
        if first is not None and first.values:
            drawn = [name for name in first.as_configured or () if name in first.params]
            but_for = f" (but for {', '.join(drawn)})" if drawn else ""
            lines["as configured"] = f"{first.values[0]:.4f} in trial {first.number}{but_for}"
        return lines
    lines = {
        f"objective {place}": f"{name} ({direction})"
        for place, (name, direction) in enumerate(zip(log.objectives, directions, strict=True), start=1)
    }
    if best:
        numbers = ", ".join(str(trial.number) for trial in front(log))
        lines["best"] = f"trials {numbers}: none is better in all"
    return lines


def _in_words(edge: Edge) -> str:
    end = "upper" if edge.is_upper else "lower"
    where = f"at the {end} end of its range ({edge.limit})"
    return f"{edge.parameter} {where} in {edge.num_there} of the best {edge.num_best}"


def _progress(log: StudyLog, found: Statistics) -> str:
    counts = {state: count for state, count in found.counts.items() if count}
    parts = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    ended = sum(counts.get(state, 0) for state in ("complete", "pruned", "failed"))
    whole = f"{ended:,}" if log.num_wanted is None else f"{ended:,} of {log.num_wanted:,}"
    return f"{whole} ended ({parts})" if parts else "none yet"


def best_trials(log: StudyLog) -> Table:
    """The best trials beside each other, with all their settings."""
    best = ranked(log)[:MAX_BEST]
    if not best:
        raise NotLogged("no trial is complete yet")
    rows = [
        [Cell(name), *(number(trial.values[place] if trial.values else None) for trial in best)]
        for place, name in enumerate(log.objectives)
    ]
    rows.append([Cell("seconds"), *(number(trial.seconds, 1) for trial in best)])
    rows += [
        [Cell(name), *(replace(_setting(trial, name), is_number=True) for trial in best)]
        for name in log.distributions
    ]
    rows.append([Cell("folder"), *(Cell(_place(trial, log), is_number=True) for trial in best)])
    columns = ["", *(f"trial {trial.number}" for trial in best)]
    reading = "" if len(log.objectives) == 1 else "First those that no other one beats in all objectives."
    return Table("Best trials", reading, columns, rows)


def at_the_edge(log: StudyLog) -> Table:
    """Parameters whose best values are at an end of their range."""
    found = edges(log)
    if not found:
        raise NotLogged("no parameter's best values are at an end of its range")
    rows = [
        [
            Cell(edge.parameter),
            Cell("upper" if edge.is_upper else "lower"),
            Cell(edge.limit, is_number=True),
            Cell(f"{edge.num_there} of {edge.num_best}", is_number=True),
            Cell(edge.best_value, is_number=True),
        ]
        for edge in found
    ]
    reading = (
        "Within a twentieth of the range from its end. Better values may lie beyond it: widen the range there, if "
        "the end isn't where the parameter itself ends, as 0 of a rate."
    )
    return Table(
        "At the edge", reading, ["parameter", "end", "limit", "best trials there", "the best has"], rows
    )


def importance(log: StudyLog, found: Sequence[Importances]) -> Table:
    """The importances as numbers, and what isn't judged."""
    rows = []
    for each in found:
        names = dict.fromkeys([*each.ped_anova, *each.fanova])
        for name in names:
            first = [Cell(log.objectives[each.objective])] if len(log.objectives) > 1 else []
            values = (each.fanova.get(name, math.nan), each.ped_anova.get(name, math.nan))
            rows.append([*first, Cell(name), *(share(value) for value in values)])
    reasons = ". ".join(dict.fromkeys(capitalized(reason) for each in found for reason in each.missing))
    if not rows:
        raise NotLogged(reasons[:1].lower() + reasons[1:])
    heading = ["objective"] if len(log.objectives) > 1 else []
    reading = f"{reasons}." if reasons else ""
    return Table("Importance as numbers", reading, [*heading, "parameter", "fANOVA", "PED-ANOVA"], rows)


def trial_statistics(log: StudyLog, found: Statistics) -> Table:
    """Counts, rates and durations."""
    if not log.trials:
        raise NotLogged("no trial has begun yet")
    rows = [[Cell(f"{state} trials"), number(count)] for state, count in found.counts.items() if count]

    def add(name: str, text: str | None) -> None:
        if text is not None:
            rows.append([Cell(name), Cell(text, is_number=True)])

    add("pruning rate", None if found.pruning_rate is None else f"{100 * found.pruning_rate:.1f}%")
    saved = None if found.seconds_saved is None else duration(found.seconds_saved)
    add("time saved by pruning (estimated)", saved)
    for state, spread in found.durations.items():
        times = f"{duration(spread.median)} ({duration(spread.least)} to {duration(spread.most)})"
        add(f"duration of {state} trials, median (range)", times)
    spent = {state: spread.total for state, spread in found.durations.items()}
    for state in ("pruned", "failed", "lost"):
        if state in spent:
            add(
                f"time in {state} trials",
                f"{duration(spent[state])}, {100 * spent[state] / (sum(spent.values()) or 1):.1f}%",
            )
    add(
        "time to the first step, median",
        None if found.to_first_step is None else f"{found.to_first_step:.1f} s",
    )
    add("time in which the search ran", duration(found.wall_seconds))
    add("workers' idle share", None if found.idle_share is None else f"{100 * found.idle_share:.1f}%")
    reading = (
        "The pruning rate leaves failed trials out. Saved is what the pruned trials would have taken more, by their "
        "own pace; where that isn't known, by the median of the complete ones."
    )
    return Table("Trial statistics", reading, ["", ""], rows)


def workers(log: StudyLog) -> Table:
    """What each worker did with its time."""
    found = utilizations(log)
    if not found:
        raise NotLogged("no trial has begun yet")
    rows = [
        [
            Cell(each.lane),
            number(each.num_trials),
            *(number(seconds, 1) for seconds in (each.busy, each.between, each.after)),
            share(each.idle_share),
        ]
        for each in (*found, *([whole_utilization(found)] if len(found) > 1 else []))
    ]
    columns = ["worker", "trials", "busy (s)", "between trials (s)", "after the last (s)", "idle share"]
    reading = "Times of over a minute without any trial are breaks of the search, and not counted."
    return Table("Time of the workers", reading, columns, rows)


def failures(log: StudyLog) -> Table:
    """Which trials failed, and why; the latest first."""
    found = log.of_state("failed", "lost")[::-1]
    if not found:
        raise NotLogged("no trial failed")
    rows = [
        [
            number(trial.number),
            Cell(trial.reason or ("its process was killed" if trial.state == "lost" else "unknown")),
            number(trial.seconds, 1),
            Cell("-" if trial.worker is None else str(trial.worker)),
            Cell(_place(trial, log)),
        ]
        for trial in found[:MAX_FAILURES]
    ]
    reading = "" if len(found) <= MAX_FAILURES else f"The latest {MAX_FAILURES} of {len(found)}."
    return Table("Failures", reading, ["trial", "reason", "seconds", "worker", "folder"], rows)


def all_trials(log: StudyLog) -> Table:
    """Every trial with its settings."""
    if not log.trials:
        raise NotLogged("no trial has begun yet")
    rows = [
        [
            number(trial.number),
            Cell(trial.state),
            *(
                number(None if trial.values is None else value)
                for value in trial.values or [None] * len(log.objectives)
            ),
            number(trial.last_reported[1] if trial.last_reported else None),
            number(trial.seconds, 1),
            *(_setting(trial, name) for name in log.distributions),
        ]
        for trial in log.trials
    ]
    columns = ["trial", "state", *log.objectives, "last report", "seconds", *log.distributions]
    return Table("All trials", "As trials.csv has them too.", columns, rows)


def duration(seconds: float) -> str:
    """A time as one reads it: ``45.0 s``, ``12 min 5 s``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {name}"
    raise AssertionError(seconds)


def _place(trial: TrialLog, log: StudyLog) -> str:
    """The trial's folder, within the sweep's if it lies there."""
    if trial.folder is None:
        return "-"
    inside = log.folder is not None and Path(trial.folder).is_relative_to(log.folder)
    return str(Path(trial.folder).relative_to(log.folder or "")) if inside else trial.folder


def _setting(trial: TrialLog, name: str) -> Cell:
    value: Any = trial.params.get(name)
    if name not in trial.params:
        return Cell("-")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value))
    return Cell(f"{value:.4g}" if isinstance(value, float) else str(value), is_number=True)
