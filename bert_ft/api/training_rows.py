"""The rows that ``Classifier.fit`` is given, as a table with the columns of a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bert_ft.data.frames import column_names, is_frame, labels_of, values_of
from bert_ft.data.targets import is_missing, label_text
from bert_ft.errors import DataError

TEXT, PAIR, LABEL = "text", "text_pair", "label"
_SHOWN = 5


@dataclass(frozen=True)
class Rows:
    """Texts with labels.

    Attributes:
        table: a mapping of columns, or the caller's own frame.
        text_column: column of the texts.
        text_pair_column: column of the second texts of pairs.
        label_column: column of the labels.
        labels: the labels as they were given; for class numbers of a data set, their names.
    """

    table: Any
    text_column: str
    text_pair_column: str | None
    label_column: str
    labels: list[Any]


def rows_of(texts: Any, labels: Any, text: str | Sequence[str], label: str, name: str) -> Rows:
    """Return the rows of texts and labels, or of a frame.

    Args:
        texts: texts, or pairs of texts as tuples; or a frame.
        labels: their labels; ``None``: those of the frame.
        text: column of the texts in a frame; of pairs, two columns.
        label: column of the labels in a frame.
        name: what messages call these rows.

    Raises:
        DataError: they don't fit each other, a label is missing, or all are equal.
    """
    if isinstance(texts, str | bytes):
        raise DataError(f"{name}: got one text; pass a list of texts and a list of labels")
    if is_frame(texts) and labels is None:
        columns = [text] if isinstance(text, str) else list(text)
        missing = [column for column in (*columns, label) if column not in column_names(texts)]
        if missing:
            raise DataError(
                f"{name}: the frame has no column {missing[0]!r}; its columns are "
                f"{', '.join(map(repr, column_names(texts)))}; set text= and label="
            )
        given = labels_of(texts, label)
        found = Rows(texts, columns[0], columns[1] if len(columns) > 1 else None, label, given)
    else:
        if labels is None:
            raise DataError(
                f"{name}: there are texts but no labels; pass both, or a frame with a column of each"
            )
        found = _of_lists(texts, labels, text, name)
    _check_labels(found.labels, name)
    return found


def _of_lists(texts: Any, labels: Any, text: str | Sequence[str], name: str) -> Rows:
    if is_frame(texts):
        texts = (
            texts[text]
            if isinstance(text, str)
            else list(zip(*(values_of(texts[each]) for each in text), strict=True))
        )
    rows, given = list(values_of(texts)), values_of(labels)
    if is_frame(given):
        raise DataError(f"{name}: the labels are a frame; pass one column of it")
    given = list(given)
    if len(rows) != len(given):
        raise DataError(
            f"{name}: {len(rows):,} texts but {len(given):,} labels; give one label for each text"
        )
    if not rows:
        raise DataError(f"{name}: there are no rows")
    if not isinstance(rows[0], tuple | list):
        return Rows({TEXT: rows, LABEL: given}, TEXT, None, LABEL, given)
    for place, row in enumerate(rows):
        if not isinstance(row, tuple | list) or len(row) != 2:
            raise DataError(f"{name}, position {place}: {row!r} isn't a pair of texts, as the first one is")
    table = {TEXT: [row[0] for row in rows], PAIR: [row[1] for row in rows], LABEL: given}
    return Rows(table, TEXT, PAIR, LABEL, given)


def _check_labels(labels: Sequence[Any], name: str) -> None:
    for place, label in enumerate(labels):
        if is_missing(label):
            raise DataError(f"{name}, position {place}: the label is missing; fill it or drop the row")


def check_classes(rows: Rows, name: str, *, sets_aside: bool) -> None:
    """Refuse labels from which no classifier can be trained.

    Args:
        rows: the training rows.
        name: what messages call them.
        sets_aside: whether validation rows are taken from them.

    Raises:
        DataError: there is one class, or with ``sets_aside`` a class has one row.
    """
    counts = Counter(label_text(label, name) for label in rows.labels)
    if len(counts) < 2:
        raise DataError(
            f"{name}: all {len(rows.labels):,} labels are {next(iter(counts))!r}; a classifier needs two classes or more"
        )
    single = [label for label, count in counts.items() if count == 1]
    if sets_aside and single:
        shown = ", ".join(map(repr, single[:_SHOWN])) + (", …" if len(single) > _SHOWN else "")
        raise DataError(
            f"{name}: only 1 row of {shown}, and validation rows are set aside from these; give a second row, or "
            "validation=(texts, labels)"
        )
