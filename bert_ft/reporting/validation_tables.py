"""What the classifier held of the validation rows, in numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.table import Cell, Table, number, share
from bert_ft.reporting.validation_pictures import counts_of, outputs_of
from bert_ft.tasks.confidence import class_scores

MAX_MISTAKES = 10


def scores_by_class(log: RunLog) -> Table:
    """Precision, recall and F1 of each class."""
    counts, names = counts_of(log), outputs_of(log).names
    rows = [
        [Cell(name), number(int(support)), *map(share, values)]
        for name, support, *values in zip(names, counts.sum(axis=1), *class_scores(counts), strict=True)
    ]
    reading = (
        "Precision: how many of those predicted as the class are of it. Recall: how many of it were found."
    )
    return Table("Scores by class", reading, ["label", "rows", "precision", "recall", "F1"], rows)


def frequent_mistakes(log: RunLog) -> Table:
    """The pairs of classes that are confused most often."""
    names = outputs_of(log).names
    rows = [
        [Cell(names[label]), Cell(names[prediction]), number(count)]
        for label, prediction, count in mistakes(counts_of(log), MAX_MISTAKES)
    ]
    if not rows:
        raise NotLogged("every validation row is right")
    return Table("Most frequent mistakes", "", ["label", "predicted", "rows"], rows)


def mistakes(counts: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """``(label, prediction, rows)`` of the most frequent mistakes, at most so many; equal ones in the labels' order."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(index), len(counts)) for index in order]
    return [
        (label, prediction, int(wrong[label, prediction]))
        for label, prediction in pairs
        if wrong[label, prediction]
    ]


def top_losses(log: RunLog) -> Table:
    """The validation rows with the highest loss."""
    if log.top_losses is None:
        raise NotLogged("no monitor/top_losses_<step>.json was kept (monitor confidence)")
    rows = [
        [
            Cell(str(row.get("source") or row["row"])),
            Cell("(not kept)" if row["text"] is None else str(row["text"])),
            Cell(str(row["label"])),
            Cell(str(row["prediction"])),
            number(row["probability"]),
            number(row["loss"], 2),
        ]
        for row in log.top_losses.content
    ]
    reading = (
        "The rows that the model finds hardest: look here for wrong labels first. The probability is that of the label, "
        "the row that of the file, from 1."
    )
    columns = ["row", "text", "label", "predicted", "probability", "loss"]
    return Table("Highest losses", reading, columns, rows)
