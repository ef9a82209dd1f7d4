"""Labels in several columns of 0 and 1, one for each label."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr  # cuts long values short
from typing import TYPE_CHECKING, Any

from bert_ft.data.targets import LabelTexts, is_missing
from bert_ft.errors import DataError
from bert_ft.tasks.numbers import Numbers

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_WORDS = {"true": True, "false": False, "yes": True, "no": False}


class Flags(LabelTexts):
    """Reads a cell of such a column: 1 or 0, as a number or a text, or a boolean; unknown isn't no."""

    @property
    def stored_type(self) -> pa.DataType:
        """Return the type of booleans."""
        import pyarrow as pa

        return pa.bool_()

    def read(self, value: Any, place: str, class_names: Sequence[str] | None = None) -> bool:  # type: ignore[override]
        """See ``LabelReader.read``."""
        if is_missing(value):
            raise DataError(f"{place}: the cell is empty; write 1 or 0")
        text = str(value).strip().lower()
        if text in _WORDS:
            return _WORDS[text]
        try:
            return {0.0: False, 1.0: True}[float(text)]
        except (ValueError, KeyError):
            raise DataError(f"{place}: {repr(value)} is neither 1 nor 0") from None


class Counts(Flags):
    """Reads a cell that is 0 or 1, or the number or share of the votes for a class."""

    @property
    def stored_type(self) -> pa.DataType:
        """Return the type of numbers."""
        return Numbers().stored_type

    def read(self, value: Any, place: str, class_names: Sequence[str] | None = None) -> float:  # type: ignore[override]
        """See ``LabelReader.read``."""
        if isinstance(value, bool) or str(value).strip().lower() in _WORDS:
            return float(super().read(value, place))
        found = Numbers().read(value, place)
        if found < 0:
            raise DataError(f"{place}: {value!r} is below 0; it must be 0 or 1, or the votes for a class")
        return found


def are_flags(labels: Any) -> bool:
    """Return whether stored labels are in several columns."""
    import pyarrow as pa

    return isinstance(labels, pa.Array | pa.ChunkedArray) and pa.types.is_struct(labels.type)


def columns_of(labels: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Return the names of the columns, and their values ``(num_rows, num_columns)``."""
    import numpy as np
    import pyarrow.compute as pc

    names = [labels.type.field(index).name for index in range(labels.type.num_fields)]
    values = [pc.struct_field(labels, index).to_numpy(zero_copy_only=False) for index in range(len(names))]
    return names, np.stack([np.asarray(each) for each in values], axis=1)


def vote_columns(labels: pa.ChunkedArray, origin: str) -> tuple[str, ...] | None:
    """Return the names of the columns if one has another number than 0 and 1, which are votes then.

    Raises:
        DataError: there is only one column.
    """
    import numpy as np

    names, votes = columns_of(labels)
    if np.isin(votes, (0, 1)).all():
        return None
    if len(names) < 2:
        raise DataError(f"{origin}: votes need a column for each class; data.label_column names one")
    return tuple(names)
