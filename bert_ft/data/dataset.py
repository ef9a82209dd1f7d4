"""One split: its token ids, labels and texts, from which batches are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from datasets import Dataset

from bert_ft.data.long_texts import sampled_windows
from bert_ft.data.packing import TextBatch, pack
from bert_ft.data.tokenization import TokenizedColumns

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
        """``(num_rows,)`` int64, tokens in each row as it is fed to the encoder, in all of its windows."""
        return self.columns.lengths[self.index]

    @property
    def full_lengths(self) -> np.ndarray:
        """``(num_rows,)`` int64, tokens of each row in one sequence, before a cut."""
        return self.columns.full_lengths[self.index]

    @property
    def num_truncated(self) -> np.ndarray:
        """``(num_rows,)`` int32, tokens that each row lost to the length limit."""
        return self.columns.num_truncated[self.index]

    @cached_property
    def num_windows(self) -> np.ndarray:
        """``(num_rows,)`` int64, sequences of each row; 1 unless it is longer than the limit and windowed."""
        offsets = self.columns.row_offsets
        return np.ones(len(self), np.int64) if offsets is None else np.diff(offsets)[self.index]

    @cached_property
    def window_lengths(self) -> np.ndarray:
        """``(num_windows.sum(),)`` int64, tokens in each sequence of the split, row by row."""
        return np.diff(self.columns.offsets)[self._sequences_of(np.arange(len(self)))]

    def used_tokens(self, vocab_size: int) -> np.ndarray:
        """``(vocab_size,)`` bool, the ids that occur in this split."""
        used = np.zeros(vocab_size, dtype=bool)
        for first in range(0, len(self), USED_TOKENS_ROWS):
            ids, _ = self.sequences(np.arange(first, min(first + USED_TOKENS_ROWS, len(self))))
            used[np.concatenate(ids)] = True
        return used

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, positions: int | Sequence[int]) -> TextBatch:
        """Return one row, or several, as a packed batch."""
        positions = [positions] if isinstance(positions, int | np.integer) else positions
        return self.packed(positions, *self.sequences(positions))

    def packed(
        self,
        positions: Sequence[int],
        sequences: Sequence[np.ndarray],
        types: Sequence[np.ndarray] | None,
        windows: Sequence[np.ndarray] | None = None,
    ) -> TextBatch:
        """Return the batch of the rows at ``positions``, whose ``sequences`` are given; see ``sequences``."""
        num_windows = window_ids = None
        if self.columns.row_offsets is not None:
            window_ids, num_windows = self._window_ids(positions, windows)
        return pack(
            sequences,
            positions,
            token_type_ids=types,
            labels=None if self.labels is None else self.labels[positions],
            num_windows=num_windows,
            window_ids=window_ids,
        )

    def sequences(
        self, positions: Sequence[int] | np.ndarray, windows: Sequence[np.ndarray] | None = None
    ) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """Return the ids of each row at ``positions``, and their token types (``None`` if there are none).

        A row of several windows has as many entries, or those numbered by its entry of ``windows``.
        """
        found = self._sequences_of(positions, windows)
        types = self.columns.token_type_ids
        return (
            self._pieces(self.columns.input_ids, found),
            None if types is None else self._pieces(types, found),
        )

    def _sequences_of(
        self, positions: Sequence[int] | np.ndarray, windows: Sequence[np.ndarray] | None = None
    ) -> np.ndarray:
        """Return the numbers in ``columns`` of the windows of some rows."""
        source_rows, offsets = self.index[positions], self.columns.row_offsets
        if offsets is None:
            return source_rows
        if windows is None:
            windows = [np.arange(count) for count in offsets[source_rows + 1] - offsets[source_rows]]
        return np.concatenate([np.empty(0, np.int64), *map(np.add, offsets[source_rows], windows)])

    def _window_ids(
        self, positions: Sequence[int], windows: Sequence[np.ndarray] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers in this split of the windows of some rows, and how many each row has."""
        if windows is None:
            windows = [np.arange(count) for count in self.num_windows[positions]]
        ids = [np.empty(0, np.int64), *map(np.add, self._first_windows[positions], windows)]
        return np.concatenate(ids), np.array([len(each) for each in windows], dtype=np.int64)

    @cached_property
    def _first_windows(self) -> np.ndarray:
        return np.cumsum(self.num_windows) - self.num_windows

    def _pieces(self, values: np.ndarray, sequences: np.ndarray) -> list[np.ndarray]:
        offsets = self.columns.offsets
        return [
            values[start:stop] for start, stop in zip(offsets[sequences], offsets[sequences + 1], strict=True)
        ]


@dataclass(frozen=True)
class SampledWindows:
    """A training split of whose long texts not all windows are trained at once; see ``sampled_windows``.

    Attributes:
        split: the rows.
        max_windows: most windows of a row.
        seed: the run's seed.
    """

    split: TokenizedSplit
    max_windows: int
    seed: int

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, batch: tuple[int, Sequence[int]]) -> TextBatch:
        """The rows of ``(epoch, rows)`` as a packed batch."""
        epoch, rows = batch
        windows = self.windows(epoch, rows)
        return self.split.packed(rows, *self.split.sequences(rows, windows), windows)

    def describe(self) -> str:
        """Return a sentence on what is left out of a batch."""
        counts = self.split.num_windows
        share = np.minimum(counts, self.max_windows).sum() / counts.sum()
        return (
            f"{self.split.name}: {(counts > self.max_windows).sum():,} texts have more than data.max_windows="
            f"{self.max_windows} windows; each epoch trains {self.max_windows} of each, drawn from all over the text "
            f"({share:.0%} of all windows); evaluation and prediction use all"
        )

    def windows(self, epoch: int, rows: Sequence[int]) -> list[np.ndarray]:
        """Return which windows of each row are trained in an epoch."""
        return sampled_windows(self.split.num_windows[rows], rows, self.max_windows, self.seed, epoch)
