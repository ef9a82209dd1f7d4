"""Tables of the classifier's predictions for the rows of a split."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bert_ft.evaluation.intervals import ClassIntervals, class_intervals
from bert_ft.reporting.monitor_files import LossRow
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.table import Cell, Table, number, with_interval
from bert_ft.reporting.validation_pictures import outputs_of

MAX_MISTAKES = 10
CLASS_READING = "Precision: the share of rows predicted as the class that belong to it. Recall: the share of its rows found."
INTERVALS = "In brackets: 95% intervals; wide ones come from few rows."


def scores_by_class(log: RunLog) -> Table:
    """Return precision, recall and F1 of each class."""
    _, names, counts = outputs_of(log)
    return class_table(class_intervals(counts, names), "Scores by class", "label", CLASS_READING)


def class_table(
    classes: Sequence[ClassIntervals], title: str, column: str, reading: str, digits: int = 3
) -> Table:
    """Return the scores of classes or labels with their intervals."""
    rows = [
        [
            Cell(each.name),
            number(each.rows),
            number(each.predicted),
            *(
                with_interval(score.value, score.low, score.high, bar=True, digits=digits)
                for score in (each.precision, each.recall, each.f1)
            ),
        ]
        for each in classes
    ]
    columns = [column, "rows", "predicted", "precision", "recall", "F1"]
    return Table(title, f"{reading} {INTERVALS}", columns, rows)


def frequent_mistakes(log: RunLog) -> Table:
    """Return the pairs of classes that are confused most often."""
    _, names, counts = outputs_of(log)
    rows = [
        [Cell(names[label]), Cell(names[prediction]), number(count)]
        for label, prediction, count in mistakes(counts, MAX_MISTAKES)
    ]
    if not rows:
        raise NotLogged("every row is right")
    return Table("Most frequent mistakes", "", ["label", "predicted", "rows"], rows)


def mistakes(counts: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """Return ``(label, prediction, rows)`` of the ``most`` frequent mistakes; ties in the order of the labels."""
    wrong = counts - np.diag(np.diag(counts))
    pairs = [divmod(int(index), len(counts)) for index in np.argsort(-wrong, axis=None, kind="stable")[:most]]
    return [(*pair, int(wrong[pair])) for pair in pairs if wrong[pair]]


def top_losses(log: RunLog) -> Table:
    """Return the rows with the highest loss."""
    if log.top_losses is None:
        raise NotLogged("no top_losses_<step>.json was kept (monitor confidence)")
    reading = (
        "The rows that the model finds hardest: look here for wrong labels first. The probability is the label's; rows "
        "of the file are counted from 1."
    )
    return loss_table(log.top_losses.content, "Highest losses", reading)


def loss_table(records: Sequence[LossRow], title: str, reading: str) -> Table:
    """Return the table of ``judged_rows.top_losses``."""
    rows = [
        [
            Cell(str(row.get("source") or row["row"])),
            Cell("(not kept)" if row["text"] is None else str(row["text"])),
            Cell(str(row["label"])),
            Cell(str(row["prediction"])),
            number(row["probability"]),
            number(row["loss"], 2),
        ]
        for row in records
    ]
    return Table(title, reading, ["row", "text", "label", "predicted", "probability", "loss"], rows)
