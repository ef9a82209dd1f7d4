"""One split: its token ids, labels and texts, from which batches are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bert_ft.data.packing import TextBatch, pack
from bert_ft.data.tokenization import TokenizedColumns

if TYPE_CHECKING:
    from datasets import Dataset

USED_TOKENS_ROWS = 10_000  # that are looked at together: bounds the memory that this takes


@dataclass(frozen=True)
class TokenizedSplit:
    """Rows of a source as ids.

    Attributes:
        name: ``train``, ``validation`` or ``test``, or any other name for unlabeled rows.
        columns: the ids of the whole source, shared by the splits that are cut from it.
        index: ``(num_rows,)`` int64, which rows of ``columns`` are in this split.
        texts: the split's rows as they were read.
        rows: ``(num_rows,)`` int64, the number of each row in its source, from 1.
        labels: the rows' targets, ``(num_rows, ...)`` as the task encodes them, or ``None``.
        origin: the source, as messages name it.
    """

    name: str
    columns: TokenizedColumns
    index: np.ndarray
    texts: Dataset
    rows: np.ndarray
    labels: np.ndarray | None = None
    origin: str = ""

    @classmethod
    def from_columns(cls, name: str, columns: TokenizedColumns, texts: Dataset) -> TokenizedSplit:
        """Return all rows of ``texts``, unlabeled."""
        index = np.arange(len(texts))
        return cls(name, columns, index, texts, rows=index + 1, origin=name)

    def select(self, positions: np.ndarray, name: str | None = None) -> TokenizedSplit:
        """Return the rows at ``positions`` as a new split."""
        return TokenizedSplit(
            name=name or self.name,
            columns=self.columns,
            index=self.index[positions],
            texts=self.texts.select(positions),
            rows=self.rows[positions],
            labels=None if self.labels is None else self.labels[positions],
            origin=self.origin,
        )

    @property
    def known_labels(self) -> np.ndarray:
        """``labels`` of a split that has them."""
        assert self.labels is not None
        return self.labels

    @property
    def lengths(self) -> np.ndarray:
        """``(num_rows,)`` int64, tokens in each row as it is fed to the encoder."""
        return self.columns.lengths[self.index]

    @property
    def num_truncated(self) -> np.ndarray:
        """``(num_rows,)`` int32, tokens that each row lost to the length limit."""
        return self.columns.num_truncated[self.index]

    def used_tokens(self, vocab_size: int) -> np.ndarray:
        """``(vocab_size,)`` bool, the ids that occur in this split."""
        used = np.zeros(vocab_size, dtype=bool)
        for first in range(0, len(self), USED_TOKENS_ROWS):
            rows = self.index[first : first + USED_TOKENS_ROWS]
            used[np.concatenate(self._pieces(self.columns.input_ids, rows))] = True
        return used

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, positions: int | Sequence[int]) -> TextBatch:
        """Return one row, or several, as a packed batch."""
        positions = [positions] if isinstance(positions, int | np.integer) else positions
        sequences, types = self.sequences(positions)
        return pack(
            sequences,
            positions,
            token_type_ids=types,
            labels=None if self.labels is None else self.labels[positions],
        )

    def sequences(self, positions: Sequence[int]) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """Return the ids of each row at ``positions``, and their token types (``None`` if there are none)."""
        source_rows = self.index[positions]
        types = self.columns.token_type_ids
        return (
            self._pieces(self.columns.input_ids, source_rows),
            None if types is None else self._pieces(types, source_rows),
        )

    def _pieces(self, values: np.ndarray, source_rows: np.ndarray) -> list[np.ndarray]:
        offsets = self.columns.offsets
        return [
            values[start:stop]
            for start, stop in zip(offsets[source_rows], offsets[source_rows + 1], strict=True)
        ]
