"""An evaluation as JSON and as CSV files, for programs and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import bert_ft
from bert_ft import layout
from bert_ft.atomic_file import write
from bert_ft.evaluation.evaluated_rows import EvaluatedRows
from bert_ft.evaluation.evaluation import Evaluation
from bert_ft.evaluation.intervals import LEVEL, Interval
from bert_ft.reporting.evaluation_tables import guess, sentences
from bert_ft.tasks.judged_rows import predictions_as_text

SCORES = ("value", "low", "high")


def write_files(found: Evaluation, rows: EvaluatedRows, folder: Path) -> None:
    """Write ``evaluation.json``, ``scores.csv``, ``rows.csv`` and, if they exist, ``classes.csv`` and ``groups.csv``."""
    for name in ("classes.csv", "groups.csv"):
        (folder / name).unlink(missing_ok=True)  # of an earlier evaluation
    write_json(folder / layout.EVALUATION_FILE, as_dict(found, rows))
    guessed = {} if found.baseline is None else found.baseline.values
    _write_csv(
        folder / "scores.csv",
        ["metric", *SCORES, "guessing", "note"],
        (
            [name, *_ends(each), guessed.get(name), each.reason or each.caution]
            for name, each in found.metrics.items()
        ),
    )
    _write_csv(folder / "rows.csv", *_rows(found, rows))
    if found.classes:
        kinds = ("precision", "recall", "f1")
        _write_csv(
            folder / "classes.csv",
            ["label", "rows", "predicted", *_headings(kinds)],
            (
                [each.name, each.rows, each.predicted, *_all_ends(getattr(each, kind) for kind in kinds)]
                for each in found.classes
            ),
        )
    if found.groups:
        _write_csv(
            folder / "groups.csv",
            [rows.columns["group_by"], "rows", *_headings(found.metrics)],
            (
                [name, group.rows, *_all_ends(group.metrics.get(metric) for metric in found.metrics)]
                for name, group in found.groups.items()
            ),
        )


def as_dict(found: Evaluation, rows: EvaluatedRows) -> dict[str, Any]:
    """Return the content of ``evaluation.json``."""
    scored, baseline, counts = found.scored, found.baseline, found.scored.counts
    content: dict[str, Any] = {
        "bert_ft": bert_ft.__version__,
        "bundle": rows.model,
        "input": rows.file,
        "task": scored.task.name,
        "labels": list(scored.names),
        "rows": {"scored": len(scored), "all": len(rows.reasons), "left_out": dict(rows.left_out)},
        "unknown_labels": dict(Counter(rows.unknown.values()).most_common()),
        "notes": sentences(found, rows),
        "level": LEVEL,
        "metrics": {name: _interval(each) for name, each in found.metrics.items()},
        "baseline": None if baseline is None else {"guess": guess(found), **baseline.values},
    }
    if found.num_clusters:
        content["clusters"] = {"column": rows.columns["cluster_by"], "number": found.num_clusters}
    if found.calibration is not None:
        content["calibration"] = {"error": found.calibration.error, "debiased": found.calibration.debiased}
    if counts is not None:
        content["confusion"] = counts.tolist()
    if found.classes:
        content["classes"] = {
            each.name: {"rows": each.rows, "predicted": each.predicted}
            | {kind: _interval(getattr(each, kind)) for kind in ("precision", "recall", "f1")}
            for each in found.classes
        }
    if found.targets:
        content["targets"] = {
            target: {name: _interval(each) for name, each in metrics.items()}
            for target, metrics in found.targets.items()
        }
    if found.groups:
        content["groups"] = {
            "column": rows.columns["group_by"],
            "number": found.num_groups,
            "metrics": {
                name: {"rows": group.rows}
                | {metric: _interval(each) for metric, each in group.metrics.items()}
                for name, group in found.groups.items()
            },
        }
    if found.comparisons:
        content["against"] = {"bundle": rows.against} | {
            each.metric: vars(each)
            | {"differs": each.differs, "sentence": each.sentence(rows.model, rows.against or "")}
            for each in found.comparisons
        }
    return content


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON; what isn't a finite number is null."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write(path, f"{text}\n".encode(errors="replace"))


def _rows(found: Evaluation, rows: EvaluatedRows) -> tuple[list[str], Iterator[list[Any]]]:
    """Return headings and a line for each row of the file; unscored ones have their reason."""
    scored = found.scored
    task: Any = scored.task
    columns: dict[str, Sequence[Any]] = {
        "label": [task.describe(target) for target in scored.targets],
        "prediction": predictions_as_text(task, torch.from_numpy(scored.logits)),
    }
    if scored.is_correct is not None:
        columns["right"] = scored.is_correct.tolist()
    if scored.counts is not None and scored.confidence is not None:
        columns["probability"] = scored.confidence.tolist()
    if scored.row_losses is not None:
        columns["loss"] = scored.row_losses.tolist()
    columns["text"] = rows.texts
    for key, values in rows.values.items():
        name = rows.columns[key]
        columns[f"{name} ({key})" if name in (*columns, "row", "reason") else name] = values

    def lines() -> Iterator[list[Any]]:
        scored_rows = iter(zip(*columns.values(), strict=True))
        for number, reason in enumerate(rows.reasons, 1):
            if reason is None:
                yield [number, "", *next(scored_rows)]
            else:
                yield [number, reason, rows.unknown.get(number, ""), *[""] * (len(columns) - 1)]

    return ["row", "reason", *columns], lines()


def _interval(found: Interval) -> dict[str, Any]:
    content = {"value": found.value, "low": found.low, "high": found.high, "method": found.method}
    more = {"reason": found.reason, "caution": found.caution, "undefined_resamples": found.num_undefined}
    return content | {name: value for name, value in more.items() if value}


def _headings(names: Iterable[str]) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


def _ends(found: Interval | None) -> list[float | None]:
    return [None] * 3 if found is None else [found.value, found.low, found.high]


def _all_ends(found: Iterable[Interval | None]) -> list[float | None]:
    return [end for each in found for end in _ends(each)]


def _write_csv(path: Path, headings: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(headings)
    writer.writerows(["" if _is_nothing(value) else value for value in line] for line in lines)
    write(path, file.getvalue().encode(errors="replace"))


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
