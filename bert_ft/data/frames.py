"""Tables in memory: frames of pandas or polars, tables of pyarrow, data sets of ``datasets``, mappings of columns.

None of these libraries is imported: a table is anything whose columns can be read by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_ft.data.row_validation import BATCH_ROWS, Columns
from bert_ft.data.targets import LabelReader, LabelTexts, label_names
from bert_ft.errors import DataError

if TYPE_CHECKING:
    from bert_ft.data.raw_splits import CacheDir, LoadedSplits


@dataclass(frozen=True)
class Frames:
    """A source of rows in memory, which are copied and stay as they are.

    Attributes:
        train: the training rows, a table with named columns.
        validation: validation rows; ``None``: some training rows are set aside.
        test: test rows.
        text_column: column of the texts.
        text_pair_column: column of the second texts of pairs.
        label_column: one name, or several of columns that have the label together.
    """

    train: Any = None
    validation: Any = None
    test: Any = None
    text_column: str = "text"
    text_pair_column: str | None = None
    label_column: str | Sequence[str] | None = "label"

    def load(self, cache_dir: CacheDir = None, labels: LabelReader | None = None) -> LoadedSplits:
        """Return the splits.

        Raises:
            DataError: a column or row can't be used.
        """
        from bert_ft.data.raw_splits import LoadedSplits, stored

        if self.train is None:
            raise DataError("data=_given: is for rows from Python (bert_ft.Classifier); use data=files")
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        origins = {name: f"the {'training' if name == 'train' else name} rows" for name in given}
        label = label_names(self.label_column)
        notes: list[str] = []
        splits = {}
        for name, frame in given.items():
            if frame is None:
                continue
            columns = Columns(
                self.text_column,
                self.text_pair_column,
                label,
                labels or LabelTexts(),
                class_names=class_names_of(frame, label) if isinstance(label, str) else None,
            )
            columns.check_present(column_names(frame), origins[name])
            splits[name] = stored(_batches(frame, columns.names), columns, origins[name], cache_dir, notes)
        return LoadedSplits(splits, notes, self.text_column, self.text_pair_column)


def _batches(frame: Any, names: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
    values = {name: values_of(frame[name]) for name in names}
    num_rows = len(values[names[0]])
    for start in range(0, num_rows, BATCH_ROWS):
        yield {name: column[start : start + BATCH_ROWS] for name, column in values.items()}


def is_frame(given: Any) -> bool:
    """Return whether something is a table with named columns."""
    if isinstance(given, Mapping):
        return True
    names = getattr(given, "column_names", None)  # pyarrow, datasets
    return isinstance(names, list) or (hasattr(given, "columns") and not hasattr(given, "to_list"))


def column_names(frame: Any) -> list[str]:
    """Return the names of a table's columns.

    Raises:
        DataError: it is no table.
    """
    if not is_frame(frame):
        raise DataError(f"got {type(frame).__name__}; pass a table with named columns")
    if isinstance(frame, Mapping):
        return list(map(str, frame))
    names = getattr(frame, "column_names", None)
    return list(map(str, names if isinstance(names, list) else frame.columns))


def values_of(column: Any) -> Any:
    """Return the values of a column as a list of Python's own types, ``None`` for missing ones.

    What isn't a column, such as a generator, is returned unchanged.
    """
    if hasattr(column, "isna") and hasattr(column, "tolist"):  # a column of pandas
        column = column.astype(object).where(column.notna(), None)
    for name in ("to_pylist", "to_list", "tolist"):  # pyarrow; polars; numpy and pandas
        if callable(read := getattr(column, name, None)):
            found = read()
            return list(map(_plain, found)) if isinstance(found, list) else [found]
    if isinstance(column, list | tuple) or type(column).__module__.startswith("datasets."):
        return list(map(_plain, column))
    return column


def _plain(value: Any) -> Any:
    """Return a value of numpy, which may be a list in a cell, as Python's own."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def labels_of(frame: Any, column: str) -> list[Any]:
    """Return the labels in a column of a table; class numbers of a ``datasets`` table as their names, ``None`` if out of range."""
    values, names = values_of(frame[column]), class_names_of(frame, column)
    if names is None:
        return values
    return [names[value] if value is not None and 0 <= value < len(names) else None for value in values]


def class_names_of(frame: Any, column: str) -> list[str] | None:
    """Return the names of the classes if the column of a ``datasets`` table has numbers of classes."""
    features = getattr(frame, "features", None)
    feature = features.get(column) if isinstance(features, Mapping) else None
    names = getattr(feature, "names", None)
    return list(names) if isinstance(names, list) else None
