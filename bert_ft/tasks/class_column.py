"""A label column, or several columns of 0 and 1, read as one class for each row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from bert_ft.data.targets import LabelReader, LabelTexts
from bert_ft.errors import DataError
from bert_ft.tasks.flags import Counts, are_flags, columns_of
from bert_ft.tasks.label_looks import ACCEPT

if TYPE_CHECKING:
    import pyarrow as pa

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_COMBINED = "+"  # between the labels of a combination

LabelColumn: TypeAlias = "pa.Array | pa.ChunkedArray | Sequence[str | int]"


class ClassTexts(LabelTexts):
    """Reads a class as a text, or one of several columns of which a row has a 1 in one; refuses lists unless ``accept``."""

    cell: ClassVar[LabelReader] = Counts()

    def __init__(self, *, accept: bool = False) -> None:
        self.accept = accept

    def read(self, value: Any, place: str, class_names: Sequence[str] | None = None) -> str:
        """See ``LabelReader.read``."""
        if not isinstance(value, list | tuple):
            return super().read(value, place, class_names)
        if not self.accept:
            raise DataError(f"{place}: {value} is a list of labels; type task=multi_label; {ACCEPT}")
        return json.dumps(value, ensure_ascii=False)


def check_one_each(labels: Any, origin: str) -> None:
    """Refuse columns of which a row has none or several."""
    import numpy as np

    names, values = columns_of(labels)
    others = np.flatnonzero(values.sum(axis=1) != 1)
    if len(others):
        columns = ",".join(names)
        raise DataError(
            f"{origin}: {len(others):,} of {len(values):,} rows (the first is row {others[0] + 1}) have none or several of the "
            f"labels {', '.join(names)}; type task=multi_label 'data.label_column=[{columns}]'; task.accept=true takes each "
            "combination as a class"
        )


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return names sorted, as numbers if all are integers, else as texts."""
    names = list(names)
    as_numbers = all(_INTEGER.fullmatch(name) for name in names)
    return tuple(sorted(names, key=int if as_numbers else None))


def as_strings(values: LabelColumn) -> pa.Array | pa.ChunkedArray:
    """Return the class of each row as a text; of columns of 0 and 1, the names of those with 1."""
    import pyarrow as pa

    if are_flags(values):
        names, flags = columns_of(cast("pa.ChunkedArray", values))
        return pa.array([_COMBINED.join(compress(names, row)) or "none" for row in flags.tolist()])
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        values = pa.array(values)
    return values.cast(pa.string())
