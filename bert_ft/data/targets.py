"""What the data needs to know about a task: how labels are read and stored, and what their targets are.

Rows, splits and reports are the same for every task; these two interfaces are all that they need from it. A task implements them
(``bert_ft.tasks.task.Task``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from reprlib import repr  # cuts long values short
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

from bert_ft.errors import DataError

if TYPE_CHECKING:  # a configuration is checked against its task before anything heavy is loaded
    import numpy as np
    import pyarrow as pa


LabelNames: TypeAlias = str | tuple[str, ...]  # of the column of the labels, or of several columns


def label_names(given: Any) -> LabelNames | None:
    """Return ``data.label_column`` as a name, or as a tuple of names."""
    return given if given is None or isinstance(given, str) else tuple(map(str, given))


def first_label(names: LabelNames | None) -> str | None:
    """Return the first column of the label."""
    return names if names is None or isinstance(names, str) else names[0]


class LabelReader(Protocol):
    """How a source reads labels, before the task is fitted to them.

    A reader of a task whose label may be in several columns also has an attribute ``cell``: the reader of one of them. The
    label is then stored as a struct with a field for each column.
    """

    @property
    def stored_type(self) -> pa.DataType:
        """The type of the column ``label`` of the checked rows."""

    def read(self, value: Any, place: str, class_names: Sequence[str] | None = None) -> Any:
        """Return the label as it is stored.

        Args:
            value: the value in the file or data set.
            place: file, row and column, for messages.
            class_names: class names, if labels are stored as class numbers; -1 then means no label.

        Raises:
            DataError: it is missing, or isn't a label of this task.
        """

    def is_hidden(self, column: pa.ChunkedArray) -> bool:
        """Return whether a data set's column holds placeholders instead of labels, as public test splits do."""


def cell_reader(reader: LabelReader, columns: Sequence[str]) -> LabelReader:
    """Return the reader of a cell of a label that is in several columns.

    Raises:
        DataError: the task's label is in one column.
    """
    cell: LabelReader | None = getattr(reader, "cell", None)
    if cell is None:
        raise DataError(
            f"data.label_column=[{','.join(columns)}]: this task reads the label from one column; name that one"
        )
    return cell


class LabelTexts:
    """Reads a label as a text: a number in decimals, a boolean as in JSON. Its meaning is up to the task."""

    @property
    def stored_type(self) -> pa.DataType:
        """Return the type of texts."""
        import pyarrow as pa

        return pa.string()

    def read(self, value: Any, place: str, class_names: Sequence[str] | None = None) -> str:
        """See ``LabelReader.read``."""
        return label_text(value, place) if class_names is None else _class_name(value, class_names, place)

    def is_hidden(self, column: pa.ChunkedArray) -> bool:
        """Return whether all labels are -1, null or empty, the conventions of public data sets."""
        return all(is_missing(value) or value in (-1, "-1", "-1.0") for value in column.to_pylist())


class Targets(Protocol):
    """How labels become targets.

    Targets are an array with an entry for each row, ``(num_rows,)`` or ``(num_rows, width)``; batches have
    the same form.
    """

    @property
    def reader(self) -> LabelReader:
        """How a source reads labels."""

    def fitted(self, labels: pa.ChunkedArray, origin: str = "train") -> Self:
        """Return the task, fitted to the stored labels of the training rows."""

    def encode(
        self, labels: pa.ChunkedArray, *, origin: str = "", rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the targets of stored labels; ``rows`` are their numbers in ``origin``, for messages."""

    def notes(self, labels: pa.ChunkedArray, origin: str) -> Iterator[str]:
        """Yield sentences on how a split's stored labels were read, where a user might not expect it."""

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return ``(num_rows,)`` int64 from 0 up, or ``(num_rows, num_labels)`` bool: what is spread evenly over the splits."""

    def target_keys(self, targets: np.ndarray) -> np.ndarray:
        """Return ``(num_rows,)`` integers, equal for equal targets: copies of a text with different keys are in conflict."""

    def describe(self, target: Any) -> str:
        """Return one row's target as a message shows it."""

    def summary(self, targets: np.ndarray) -> dict[str, int | float]:
        """Return the counts of a split for the data report: name → number."""

    def summary_warnings(self, summary: Mapping[str, int | float]) -> Iterator[str]:
        """Yield problems that may spoil training or its score, each as the end of a sentence about the split."""

    def report_warnings(
        self, summaries: Mapping[str, Mapping[str, int | float]], set_aside: Collection[str]
    ) -> Iterator[str]:
        """Yield warnings about all summaries, as sentences; ``set_aside``: splits cut from the training rows."""

    def facts(self) -> dict[str, Any]:
        """Return facts about the task for the data report, in plain types."""


def label_text(value: Any, place: str) -> str:
    """Return a label as a text: a text without white space at its ends, a number as csv has it, a boolean as in JSON.

    Raises:
        DataError: the label is missing or something else, e.g. a list.
    """
    if is_missing(value):
        raise DataError(f"{place}: the label is missing")
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return str(value)
    raise DataError(
        f"{place}: {repr(value)} ({type(value).__name__}) isn't a label; allowed are texts, numbers and booleans"
    )


def is_missing(value: Any) -> bool:
    """Return whether there is no label: null, an empty text, or NaN, which differs from itself."""
    return value is None or (isinstance(value, str) and not value.strip()) or value != value


def _class_name(value: int | None, class_names: Sequence[str], place: str) -> str:
    if value is None or not 0 <= value < len(class_names):
        raise DataError(f"{place}: the label is missing ({value!r} is none of {', '.join(class_names)})")
    return class_names[value]
