"""Checked rows as a source gives them, kept as Arrow files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bert_ft.data.arrow_cache import stored_dataset
from bert_ft.data.row_validation import Columns, checked_rows
from bert_ft.data.targets import LabelNames, LabelReader, LabelTexts

if TYPE_CHECKING:
    from datasets import Dataset

CacheDir = Path | str | None
Batches = Iterable[dict[str, list[Any]]]
TEXTS = LabelTexts()
_BOOLEANS = {"True": "true", "False": "false", "true": "true", "false": "false"}


@dataclass(frozen=True)
class RawSplit:
    """Checked rows as they were read.

    Attributes:
        dataset: memory-mapped, with the columns ``text``, ``text_pair`` (for pairs) and, unless they are unlabeled,
            ``label``; texts are strings, labels as their reader stores them.
        origin: where they came from, for messages.
        rows: ``(num_rows,)`` int64, the row number in the source, from 1; a header isn't counted.
        label: name of the column of the labels in the source, or of several.
    """

    dataset: Dataset
    origin: str
    rows: np.ndarray
    label: LabelNames | None = None


@dataclass(frozen=True)
class LoadedSplits:
    """The splits of a source: always ``train``, and ``validation`` and ``test`` if it has them.

    Attributes:
        notes: sentences on things that a user might not expect, e.g. a split that was left out.
        text_column: the name of the text column in the training rows.
        text_pair_column: the same for the second text of a pair.
    """

    splits: dict[str, RawSplit]
    notes: list[str] = field(default_factory=list)
    text_column: str = "text"
    text_pair_column: str | None = None


def stored(
    batches: Batches, columns: Columns, origin: str, cache_dir: CacheDir, notes: list[str] | None = None
) -> RawSplit:
    """Return the rows of ``batches``, checked and stored; a sentence on any change is added to ``notes``."""
    dataset = stored_dataset(columns.schema, checked_rows(batches, columns, origin, notes), cache_dir)
    return RawSplit(dataset, origin, np.arange(1, len(dataset) + 1), columns.label)


def are_hidden(batches: Batches, columns: Sequence[str], labels: LabelReader) -> bool:
    """Return whether all labels are placeholders, as public test splits have them; stops at the first that isn't."""
    if not columns:
        return False
    any_rows = False
    for batch in batches:
        any_rows = True
        for column in columns:
            try:
                values = pa.chunked_array([pa.array(batch[column])])
            except (pa.ArrowInvalid, pa.ArrowTypeError):  # of several types
                return False
            if not labels.is_hidden(values):
                return False
    return any_rows


def hidden_note(origin: str) -> str:
    """Return the note on a split that was left out because its labels are placeholders."""
    return f"{origin}: its labels are hidden (all -1, null or empty), so it isn't used"


def are_booleans(batches: Iterable[list[Any]]) -> bool:
    """Return whether all labels are booleans, or ``True`` and ``False`` in words; stops at the first that isn't."""
    values = [False]
    for batch in batches:
        if not all(
            isinstance(value, bool) or (isinstance(value, str) and value in _BOOLEANS) for value in batch
        ):
            return False
        values.append(bool(batch))
    return any(values)


def boolean_name(value: Any) -> Any:
    """Return ``true`` or ``false``, as JSON and parquet give it, for the ``True`` or ``False`` of a csv file."""
    return _BOOLEANS.get(value, value) if isinstance(value, str) else value
