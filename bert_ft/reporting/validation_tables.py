"""Tables of the classifier's predictions for the validation rows."""

import numpy as np
from numpy.typing import NDArray

from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.table import Cell, Table, number, share
from bert_ft.reporting.validation_pictures import outputs_of
from bert_ft.tasks.confidence import class_scores

MAX_MISTAKES = 10


def scores_by_class(log: RunLog) -> Table:
    """Return precision, recall and F1 of each class."""
    _, names, counts = outputs_of(log)
    rows = [
        [Cell(name), number(int(support)), *map(share, values)]
        for name, support, *values in zip(names, counts.sum(axis=1), *class_scores(counts), strict=True)
    ]
    reading = "Precision: the share of rows predicted as the class that belong to it. Recall: the share of its rows found."
    return Table("Scores by class", reading, ["label", "rows", "precision", "recall", "F1"], rows)


def frequent_mistakes(log: RunLog) -> Table:
    """Return the pairs of classes that are confused most often."""
    _, names, counts = outputs_of(log)
    rows = [
        [Cell(names[label]), Cell(names[prediction]), number(count)]
        for label, prediction, count in mistakes(counts, MAX_MISTAKES)
    ]
    if not rows:
        raise NotLogged("every validation row is right")
    return Table("Most frequent mistakes", "", ["label", "predicted", "rows"], rows)


def mistakes(counts: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """Return ``(label, prediction, rows)`` of the ``most`` frequent mistakes; ties in the order of the labels."""
    wrong = counts - np.diag(np.diag(counts))
    pairs = [divmod(int(index), len(counts)) for index in np.argsort(-wrong, axis=None, kind="stable")[:most]]
    return [(*pair, int(wrong[pair])) for pair in pairs if wrong[pair]]


def top_losses(log: RunLog) -> Table:
    """Return the validation rows with the highest loss."""
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
        "The rows that the model finds hardest: look here for wrong labels first. The probability is the label's; rows "
        "of the file are counted from 1."
    )
    columns = ["row", "text", "label", "predicted", "probability", "loss"]
    return Table("Highest losses", reading, columns, rows)
