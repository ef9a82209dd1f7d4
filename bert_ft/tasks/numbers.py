"""Numbers as labels: how a cell is read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from reprlib import repr  # cuts long values short
from typing import TYPE_CHECKING, Any

from bert_ft.data.targets import LabelReader, LabelTexts, is_missing
from bert_ft.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

# Python's float also reads nan, infinity, 1_000 and digits of other scripts
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")


class Numbers(LabelTexts):
    """Reads a number, or one in each of several columns."""

    @property
    def cell(self) -> LabelReader:
        """The reader of one of several columns."""
        return self

    @property
    def stored_type(self) -> pa.DataType:
        """Return the type of numbers in double precision."""
        import pyarrow as pa

        return pa.float64()

    def read(self, value: Any, place: str, class_names: Sequence[str] | None = None) -> float:  # type: ignore[override]
        """See ``LabelReader.read``."""
        if is_missing(value):
            raise DataError(f"{place}: the number is missing")
        if isinstance(value, str):
            text = value.strip()
            if _DECIMAL_COMMA.fullmatch(text):
                raise DataError(f"{place}: {value!r} has a decimal comma; write {text.replace(',', '.')}")
            found = float(text) if _NUMBER.fullmatch(text) else math.nan
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            found = float(value)
        else:
            found = math.nan
        if not math.isfinite(found):
            raise DataError(f"{place}: {repr(value)} isn't a finite number, such as 3, -0.5 or 1e-3")
        return found
