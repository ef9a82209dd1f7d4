"""Class names and their ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bert_ft.errors import DataError

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")

LabelColumn: TypeAlias = "pa.Array | pa.ChunkedArray | Sequence[str | int]"


@dataclass(frozen=True)
class LabelMap:
    """Class ``i`` is called ``names[i]``; fixed from the training rows."""

    names: tuple[str, ...]

    @classmethod
    def from_training(cls, values: LabelColumn, origin: str = "train") -> LabelMap:
        """The names in ``values``, sorted: as numbers if all are integers, else as text.

        Raises:
            DataError: there is one class only.
        """
        names = [str(name) for name in pc.unique(_as_strings(values)).to_pylist()]
        if len(names) < 2:
            raise DataError(f"{origin}: all labels are {names[0]!r}; a classifier needs two classes or more")
        as_numbers = all(_INTEGER.fullmatch(name) for name in names)
        return cls(tuple(sorted(names, key=int if as_numbers else None)))

    @property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def encode(self, values: LabelColumn, *, origin: str = "", rows: np.ndarray | None = None) -> np.ndarray:
        """``(num_rows,)`` int64 class ids.

        Args:
            values: labels as they were read.
            origin: where they came from, for the message.
            rows: their row numbers there; from 1 if not given.

        Raises:
            DataError: a label isn't among ``names``.
        """
        strings = _as_strings(values)
        ids = pc.fill_null(pc.index_in(strings, pa.array(self.names, pa.string())), -1)
        ids = np.asarray(ids, dtype=np.int64)
        unknown = np.flatnonzero(ids < 0)
        if len(unknown):
            index = int(unknown[0])
            row = index + 1 if rows is None else int(rows[index])
            raise DataError(
                f"{origin}, row {row}: label {strings[index].as_py()!r} doesn't occur in the training rows; "
                f"known are {', '.join(self.names)}"
            )
        return ids


def _as_strings(values: LabelColumn) -> pa.Array | pa.ChunkedArray:
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        values = pa.array(values)
    return values.cast(pa.string())
