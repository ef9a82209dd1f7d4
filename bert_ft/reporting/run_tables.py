"""What a run reached, in words and numbers."""

from __future__ import annotations

import math

import numpy as np

from bert_ft import layout
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.objective import best_so_far, objective_of
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.table import Cell, Table, number, share


def facts(log: RunLog) -> dict[str, str]:
    """What was reached, on which weights, and why it ended."""
    metric, _ = objective_of(log)
    if log.metrics is None:
        best = best_so_far(log)
        steps = max((int(series.steps[-1]) for series in log.scalars.values()), default=0)
        found = {"state": f"not finished: there is no metrics.json; logged up to step {steps:,}"}
        if best is not None:
            found["best so far"] = f"{metric} {best[1]:.4f} at step {best[0]:,}"
        return found
    metrics, checkpoint = log.metrics, log.metrics.get("checkpoint", {})
    value = metrics.get("objective", {}).get("value")
    averaged = "" if metrics.get("weights") in (None, "raw") else f" ({metrics['weights']})"
    weights = "the last weights" if checkpoint.get("path") is None else f"{checkpoint['path']}, by {metric}"
    precision = metrics.get("precision", {}).get("effective", "unknown precision")
    return {
        "objective": f"{metric} {'not a number' if value is None else f'{value:.4f}'}",
        "weights": f"{weights}{averaged}, after {checkpoint.get('epoch', 0):g} epochs, "
        f"step {checkpoint.get('step', 0):,}",
        "training": f"{metrics.get('fit_seconds', 0):,.0f} s in {precision}",
        "ended": str(metrics.get("stopped", "unknown")),
    }


def results(log: RunLog) -> Table:
    """The metrics of each split, of the weights that were kept."""
    if log.metrics is None:
        raise NotLogged("the run wrote no metrics.json")
    splits = {"validation": log.metrics.get("val") or {}, "test": log.metrics.get("test") or {}}
    names = list(dict.fromkeys(name for values in splits.values() for name in values))
    rows = [
        [Cell(split), *(number(values.get(name)) for name in names)]
        for split, values in splits.items()
        if values
    ]
    return Table("Metrics", "", ["split", *names], rows)


def phases(log: RunLog) -> Table:
    """The seconds of each phase, summed up."""
    seconds: dict[str, float] = {}
    for tag, series in log.scalars.items():
        kind, _, phase = tag.partition("/")
        if f"{kind}/" in (layout.SECONDS, layout.SECONDS_AFTER):  # at each reading, and after the last
            seconds[phase] = seconds.get(phase, 0.0) + float(np.nansum(series.values))
    if not sum(seconds.values()):
        raise NotLogged("no seconds/<phase> was logged (monitor curves)")
    whole = (log.metrics or {}).get("fit_seconds")
    if whole is not None:  # before the first batch; of a resumed run only what its last start took is known
        seconds["start and end"] = max(0.0, whole - sum(seconds.values()))
    total = sum(seconds.values())
    rows = [
        [Cell(name), number(value, 1), share(value / total)]
        for name, value in sorted(seconds.items(), key=lambda phase: -phase[1])
    ]
    reading = "" if whole is not None else "Up to the last reading."
    return Table("Where the time went", reading, ["phase", "seconds", "share"], rows)


def all_scalars(log: RunLog) -> Table:
    """First, last and extreme value of each tag that was logged."""
    if not log.scalars:
        raise NotLogged("no scalar was logged: neither tensorboard/ nor csv/ holds any")
    rows = []
    for tag, (steps, values) in sorted(log.scalars.items()):
        finite = values[np.isfinite(values)]
        extremes = [finite.min(), finite.max()] if finite.size else [math.nan, math.nan]
        rows.append(
            [Cell(tag), number(len(steps)), *(number(float(v)) for v in (values[0], values[-1], *extremes))]
        )
    return Table(
        "Everything that was logged", "", ["tag", "readings", "first", "last", "lowest", "highest"], rows
    )


def environment(log: RunLog) -> Table:
    """What the run ran on: machine, versions, precision, seed."""
    if log.environment is None:
        raise NotLogged("the run wrote no environment.json")
    known = dict(log.environment)
    versions, precision = known.pop("versions", {}), known.pop("precision", {})
    values = known | versions
    values["precision"] = f"{precision.get('effective')} (asked for {precision.get('requested')})"
    rows = [[Cell(name), Cell(str(value))] for name, value in values.items()]
    return Table("Machine and versions", "", ["", ""], rows)
