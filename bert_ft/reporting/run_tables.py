"""Tables of a run's results, its data and its machine."""

import math
from typing import Any

import numpy as np

from bert_ft import layout
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.objective import best_so_far, objective_of
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.table import Cell, Table, number, share
from bert_ft.split_columns import COLUMNS, shown_counts


def facts(log: RunLog) -> dict[str, str]:
    """Return the results, the weights that they belong to, and why training ended."""
    metric, _ = objective_of(log)
    if log.metrics is None:
        found = {
            "state": f"not finished: there is no metrics.json; logged up to step {log.last_step:,}",
        }
        if (best := best_so_far(log)) is not None:
            found["best so far"] = f"{metric} {best[1]:.4f} at step {best[0]:,}"
        return found
    metrics, checkpoint = log.metrics, log.metrics.get("checkpoint", {})
    value = metrics.get("objective", {}).get("value")
    averaged = "" if metrics.get("weights") in (None, "raw") else f" ({metrics['weights']})"
    weights = "the last weights" if checkpoint.get("path") is None else f"{checkpoint['path']}, by {metric}"
    precision = metrics.get("precision", {}).get("effective", "unknown precision")
    return {
        "objective": f"{metric} {'not a number' if value is None else f'{value:.4f}'}",
        "weights": f"{weights}{averaged}, after {_duration(checkpoint)}",
        "training": f"{metrics.get('fit_seconds', 0):,.0f} s in {precision}",
        "ended": str(metrics.get("stopped", "unknown")),
    }


def results(log: RunLog) -> Table:
    """Return the metrics of each split, measured with the kept weights."""
    if log.metrics is None:
        raise NotLogged("the run wrote no metrics.json")
    splits = {"validation": log.metrics.get("val") or {}, "test": log.metrics.get("test") or {}}
    for name, values in (log.metrics.get("baseline") or {}).items():
        splits[f"{layout.WITHOUT_TEXT} ({name})"] = values
    names = list(dict.fromkeys(name for values in splits.values() for name in values))
    rows = [
        [Cell(split), *(number(values.get(name)) for name in names)]
        for split, values in splits.items()
        if values
    ]
    return Table("Metrics", "", ["split", *names], rows)


def phases(log: RunLog) -> Table:
    """Return the total seconds of each phase."""
    seconds: dict[str, float] = {}
    for tag, series in log.scalars.items():
        kind, _, phase = tag.partition("/")
        if f"{kind}/" in (layout.SECONDS, layout.SECONDS_AFTER):  # at each reading, and after the last
            seconds[phase] = seconds.get(phase, 0.0) + float(np.nansum(series.values))
    if not sum(seconds.values()):
        raise NotLogged("no seconds/<phase> was logged (monitor curves)")
    whole = (log.metrics or {}).get("fit_seconds")
    if whole is not None:  # before the first batch; for a resumed run only the last start's time is known
        seconds["start and end"] = max(0.0, whole - sum(seconds.values()))
    total = sum(seconds.values())
    rows = [
        [Cell(name), number(value, 1), share(value / total)]
        for name, value in sorted(seconds.items(), key=lambda phase: -phase[1])
    ]
    reading = "" if whole is not None else "Up to the last reading."
    return Table("Where the time went", reading, ["phase", "seconds", "share"], rows)


def all_scalars(log: RunLog) -> Table:
    """Return first, last and extreme value of each tag."""
    if not log.scalars:
        raise NotLogged("no scalar was logged: neither tensorboard/ nor csv/ holds any")
    rows = []
    for tag, (steps, values) in sorted(log.scalars.items()):
        finite = values[np.isfinite(values)]
        extremes = [finite.min(), finite.max()] if finite.size else [math.nan, math.nan]
        rows.append(
            [Cell(tag), number(len(steps)), *(number(float(v)) for v in (values[0], values[-1], *extremes))]
        )
    columns = ["tag", "readings", "first", "last", "lowest", "highest"]
    return Table("Everything that was logged", "", columns, rows)


def environment(log: RunLog) -> Table:
    """Return the environment of the run: machine, versions, precision, seed."""
    if log.environment is None:
        raise NotLogged("the run wrote no environment.json")
    known = dict(log.environment)
    versions, precision = known.pop("versions", {}), known.pop("precision", {})
    requested = f"{precision.get('effective')} (requested: {precision.get('requested')})"
    return _pairs("Machine and versions", known | versions | {"precision": requested})


def splits(log: RunLog) -> Table:
    """Return rows and lengths of the data's splits."""
    found = _splits(log)
    shown = shown_counts(list(found.values()))
    rows = [
        [Cell(name), *(Cell(text, is_number=True) for text in counts.values())]
        for name, counts in zip(found, shown, strict=True)
    ]
    reading = f"Lengths in tokens; the limit is {(log.data_report or {}).get('max_length')}."
    return Table("Splits", reading, ["split", *(shown[0] if shown else COLUMNS)], rows)


def label_counts(log: RunLog) -> Table:
    """Return the number of rows of each label in each split."""
    counts = {name: split.get("label_counts", {}) for name, split in _splits(log).items()}
    labels = list(dict.fromkeys(label for each in counts.values() for label in each))
    rows = [[Cell(label), *(number(each.get(label, 0)) for each in counts.values())] for label in labels]
    return Table("Labels", "", ["label", *counts], rows)


def held_out(log: RunLog) -> Table:
    """Return the held-out metrics before and after pre-training."""
    metrics = _stage_metrics(log)
    before, after = metrics.get("val_before") or {}, metrics.get("val") or {}
    rows = [[Cell(name), number(before.get(name)), number(value)] for name, value in after.items()]
    texts = metrics.get("texts") or {}
    reading = f"{texts.get('held_out')} texts of {texts.get('origin')}; trained on {texts.get('train')}. "
    if texts.get("include_evaluation_texts"):
        reading += (
            "Texts of validation and test rows were among them (pretrain.include_evaluation_texts=true)."
        )
    else:
        reading += f"{texts.get('left_out')} more were left out because validation or test rows contain them."
    return Table("Held-out texts", reading, ["", "before", "after"], rows)


def stage_settings(log: RunLog) -> Table:
    """Return the settings of pre-training, and how it ended."""
    metrics = _stage_metrics(log)
    values = {name.replace("_", " "): value for name, value in (metrics.get("stage") or {}).items()}
    values["kept checkpoint"] = f"after {_duration(metrics.get('checkpoint') or {})}"
    values["training"] = f"{metrics.get('fit_seconds', 0):,.0f} s; {metrics.get('stopped')}"
    if metrics.get("head_is_fresh"):
        values["masked-token head"] = "randomly initialized"
    if metrics.get("from_cache"):
        values["taken from the cache"] = metrics["from_cache"]
    return _pairs("Stage", values)


def _duration(checkpoint: dict[str, Any]) -> str:
    return f"{layout.counted(checkpoint.get('epoch', 0), 'epoch')}, step {checkpoint.get('step', 0):,}"


def _pairs(title: str, values: dict[str, Any]) -> Table:
    return Table(title, "", ["", ""], [[Cell(name), Cell(str(value))] for name, value in values.items()])


def _splits(log: RunLog) -> dict[str, dict[str, Any]]:
    if log.data_report is None:
        raise NotLogged("the run wrote no data_report.json")
    return log.data_report.get("splits", {})


def _stage_metrics(log: RunLog) -> dict[str, Any]:
    if log.stage is None or log.stage.metrics is None:
        raise NotLogged("the stage wrote no metrics.json")
    return log.stage.metrics
