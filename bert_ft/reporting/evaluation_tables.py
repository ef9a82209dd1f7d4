"""Tables of an evaluation, for the page and the terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bert_ft.evaluation.comparison import Comparison, about
from bert_ft.evaluation.evaluated_rows import MOST_SHOWN, EvaluatedRows
from bert_ft.evaluation.evaluation import Evaluation
from bert_ft.evaluation.intervals import Interval
from bert_ft.layout import counted
from bert_ft.reporting.label_set_report import LABEL_READING
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.table import Cell, Table, number, short_number, with_interval
from bert_ft.reporting.validation_tables import (
    CLASS_READING,
    INTERVALS,
    MAX_MISTAKES,
    class_table,
    loss_table,
    mistakes,
)
from bert_ft.tasks.judged_rows import top_losses

UNKNOWN_GUESS = "not known: the folder was saved without its training labels, by an earlier version"


def guess(found: Evaluation) -> str:
    """Return what is guessed for the baseline, in words."""
    return UNKNOWN_GUESS if found.baseline is None else found.baseline.guess


def sentences(found: Evaluation, rows: EvaluatedRows) -> list[str]:
    """Return what to know about the rows: how they were read, which aren't scored, and which classes have none."""
    said = rows.sentences()
    if missing := [each.name for each in found.classes if not each.rows]:
        more = f" and {len(missing) - MOST_SHOWN} more" if len(missing) > MOST_SHOWN else ""
        said.append(f"no row of {', '.join(missing[:MOST_SHOWN])}{more}")
    return said


def metrics_table(found: Evaluation) -> Table:
    """Return each metric with its interval, and what guessing gives."""
    guessed = {} if found.baseline is None else found.baseline.values
    rows = [
        [
            Cell(name),
            _cell(each),
            Cell(short_number(guessed[name]), is_number=True)
            if name in guessed
            else Cell("", is_number=True),
            Cell(_remark(each, found)),
        ]
        for name, each in found.metrics.items()
    ]
    reading = f"{INTERVALS} Guessing: {guess(found)}."
    return _without_empty(Table("Metrics", reading, ["metric", "value", "guessing", ""], rows))


def comparison_table(found: Evaluation) -> Table:
    """Return both models' metrics on the same rows, and whether they differ."""
    if not found.comparisons:
        raise NotLogged("no second model was given (against)")
    shown = [
        [
            Cell(each.metric),
            number(each.first),
            number(each.second),
            number(each.p) if each.p is None or each.p >= 0.0001 else Cell("< 0.0001", is_number=True),
            Cell(_rows_needed(each), is_number=True),
            Cell(_verdict(each)),
        ]
        for each in found.comparisons
    ]
    reading = (
        "p: how often chance alone gives at least this difference, if both are equally good; below 0.05 they differ. Rows "
        "needed: with so many rows, this difference would be seen four times in five."
    )
    columns = ["metric", "this model", "the other", "p", "rows needed", "result"]
    return Table("Two models on the same rows", reading, columns, shown)


def _rows_needed(each: Comparison) -> str:
    return "-" if each.differs or each.rows_needed is None else f"{about(each.rows_needed):,}"


def _verdict(each: Comparison) -> str:
    if each.p is None:
        return f"can't be compared: {each.reason}"
    if not each.differs:
        return "can't be told apart"
    return "this model is better" if each.better == 1 else "the other is better"


def classes_table(found: Evaluation, digits: int = 3) -> Table:
    """Return the scores of each class, label or number."""
    if found.classes:
        is_set = found.scored.counts is None
        title, reading = ("Scores by label", LABEL_READING) if is_set else ("Scores by class", CLASS_READING)
        return class_table(found.classes, title, "label", reading, digits)
    if not found.targets:
        raise NotLogged("there are no classes, and only one number")
    names = list(next(iter(found.targets.values())))
    rows = [[Cell(target), *(_cell(each[name]) for name in names)] for target, each in found.targets.items()]
    return Table("Scores by target", f"In the file's unit. {INTERVALS}", ["target", *names], rows)


def mistakes_table(found: Evaluation) -> Table:
    """Return the pairs of classes that are confused most often."""
    counts, names = found.scored.counts, found.scored.names
    if counts is None:
        raise NotLogged("rows have no classes")
    rows = [
        [Cell(names[label]), Cell(names[predicted]), number(count)]
        for label, predicted, count in mistakes(counts, MAX_MISTAKES)
    ]
    if not rows:
        raise NotLogged("every row is right")
    return Table("Most frequent mistakes", "", ["label", "predicted", "rows"], rows)


def groups_table(found: Evaluation, rows: EvaluatedRows) -> Table:
    """Return the metrics of each subgroup."""
    if not found.groups:
        raise NotLogged("no column was given (group_by)")
    names = list(found.metrics)
    shown = [
        [Cell(name), number(group.rows), *(_cell(group.metrics.get(metric)) for metric in names)]
        for name, group in found.groups.items()
    ]
    reading = f"By {rows.columns['group_by']!r}. {INTERVALS} Intervals that overlap widely say that subgroups may be alike."
    if found.num_groups > len(found.groups):
        reading += f" The {len(found.groups)} largest of {found.num_groups:,}."
    return Table("Subgroups", reading, [rows.columns["group_by"], "rows", *names], shown)


def hardest_table(found: Evaluation, rows: EvaluatedRows) -> Table:
    """Return the wrong rows with the highest loss; of numbers, the rows that are furthest off."""
    scored = found.scored
    if scored.row_losses is None:
        raise NotLogged(f"task={scored.task.name} has no loss of each row")
    is_correct = scored.is_correct
    chosen = np.arange(len(scored)) if is_correct is None else np.flatnonzero(~is_correct)
    targets: Any = scored.targets
    if (
        scored.counts is not None
    ):  # a class of each row; soft labels without a majority are neither right nor wrong
        chosen, targets = np.intersect1d(chosen, scored.decided), scored.labels
    if not len(chosen):
        raise NotLogged("every row is right")
    texts = dict(zip(rows.rows.tolist(), rows.texts, strict=True))
    records = top_losses(
        scored.task,  # type: ignore[arg-type]  # it has losses of rows
        torch.from_numpy(scored.logits[chosen]).double(),
        torch.from_numpy(targets[chosen]),
        rows.rows[chosen],
        texts=lambda numbers: [texts[row] for row in numbers.tolist()],
    )
    title = "Rows that are furthest off" if is_correct is None else "Hardest wrong rows"
    reading = "Look here for wrong labels first. Rows of the file are counted from 1, without its header."
    return loss_table(records, title, reading)


def rows_table(found: Evaluation, rows: EvaluatedRows) -> Table:
    """Return how many rows of the file are scored, and why others aren't."""
    counts = {"scored": len(found.scored), **rows.left_out, "all": len(rows.reasons)}
    return Table("Rows", "", ["", "rows"], [[Cell(name), number(count)] for name, count in counts.items()])


def unknown_table(rows: EvaluatedRows) -> Table:
    """Return the labels that the model doesn't know."""
    if not rows.unknown:
        raise NotLogged("the model knows all labels of the file")
    shown = [[Cell(name), number(count), number(first)] for name, count, first in rows.unknown_counts()]
    return Table("Labels that the model doesn't know", "", ["label", "rows", "first row"], shown)


def _cell(found: Interval | None) -> Cell:
    return Cell("-", is_number=True) if found is None else with_interval(found.value, found.low, found.high)


def _remark(each: Interval, found: Evaluation) -> str:
    """Return what to know about an interval; mostly empty."""
    if each.low is None:
        return f"no interval: {each.reason}"
    said = [each.caution] if each.caution else []
    if each.without_class:
        names = found.scored.names
        rare = max(each.without_class, key=lambda index: each.without_class[index])
        share = each.without_class[rare] / each.num_resamples
        said.append(f"{share:.0%} of the resamples have no row of {names[rare]}")
    if each.num_undefined:
        said.append(f"not defined in {counted(each.num_undefined, 'resample')}")
    return "; ".join(said)


def _without_empty(table: Table) -> Table:
    """Leave out columns whose cells are all empty."""
    kept = [index for index in range(len(table.columns)) if any(row[index].text for row in table.rows)]
    columns = [table.columns[index] for index in kept]
    return Table(table.title, table.reading, columns, [[row[index] for index in kept] for row in table.rows])
