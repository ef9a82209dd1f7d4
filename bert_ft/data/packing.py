"""Packed batches: the real tokens of several sequences, one after the other, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class LengthGroup:
    """A run of neighboring sequences of equal length: tokens ``start : start + count * length``."""

    start: int
    count: int
    length: int


@dataclass  # not frozen: Lightning sets the fields of a copy when it converts a batch's precision
class TextBatch:
    """Several sequences packed into one row of real tokens, in order of ascending length.

    Sequences of equal length lie side by side, so that attention is computed one length at a time on
    plain views (see ``length_groups``). A sequence is a text, or a window of one if there are ``cu_windows``: then
    ``rows``, ``labels`` and the length of the batch are those of the texts, in the order that ``pack`` was given.

    Attributes:
        input_ids: ``(num_tokens,)`` int64.
        position_ids: ``(num_tokens,)`` int64, from 0 within each sequence.
        cu_seqlens: ``(num_sequences + 1,)`` int32, the cumulated lengths; sequence ``i`` is
            ``input_ids[cu_seqlens[i] : cu_seqlens[i + 1]]``.
        lengths: the length of each sequence, on the host, so that no device sync is needed.
        rows: ``(num_texts,)`` int64, the row of each text in its split.
        token_type_ids: ``(num_tokens,)`` int64, or ``None`` where the encoder needs none.
        labels: the texts' targets, ``(num_texts, ...)`` as the task encodes them; ``None`` for unlabeled text.
        states: ``(num_tokens, hidden_size)`` output of the encoder's lower layers, from which the encoder continues;
            ``None`` where it starts from the ids.
        num_layers_done: number of layers, above the embeddings, that are already applied to ``states``.
        order: ``(num_sequences,)`` int64, the position that each sequence had in the input of ``pack``.
        cu_windows: ``(num_texts + 1,)`` int32, cumulative numbers of windows of the texts; ``None`` if each has one.
        window_order: ``(num_sequences,)`` int64, the sequences that are the windows of the first text, of the second, …
        window_ids: ``(num_sequences,)`` int64, the number of each sequence in its split, if that has windows.
    """

    input_ids: Tensor
    position_ids: Tensor
    cu_seqlens: Tensor
    lengths: tuple[int, ...]
    rows: Tensor
    token_type_ids: Tensor | None = None
    labels: Tensor | None = None
    states: Tensor | None = None
    num_layers_done: int = 0
    order: Tensor | None = None
    cu_windows: Tensor | None = None
    window_order: Tensor | None = None
    window_ids: Tensor | None = None

    @property
    def num_sequences(self) -> int:
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        return self.input_ids.shape[0]

    def __len__(self) -> int:
        """Number of texts."""
        return self.rows.shape[0]

    @property
    def sequence_ids(self) -> Tensor:
        """``(num_sequences,)`` int64, the number of each sequence among all of its split."""
        return self.rows if self.window_ids is None else self.window_ids

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TextBatch:
        """Return the same batch with its tensors on ``device``."""
        tensors: dict[str, Any] = {
            name: value.to(device, non_blocking=non_blocking)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **tensors)

    def as_given(self, values: Tensor) -> Tensor:
        """Return ``(num_texts, ...)`` values in the order in which ``pack`` was given the texts."""
        return values if self.order is None else values[self.order.argsort()]

    def split(self, max_tokens: int) -> list[TextBatch]:
        """Return neighboring pieces of at most ``max_tokens`` tokens, or of one sequence if it alone is longer.

        Each window is a text of its own in a piece, without a label.
        """
        pieces: list[TextBatch] = []
        first, size = 0, 0
        for index, length in enumerate(self.lengths):
            if size and size + length > max_tokens:
                pieces.append(self._slice(first, index))
                first, size = index, 0
            size += length
        if first == 0:
            return [self]
        pieces.append(self._slice(first, self.num_sequences))
        return pieces

    def _slice(self, first: int, last: int) -> TextBatch:
        start = sum(self.lengths[:first])
        stop = start + sum(self.lengths[first:last])
        if self.cu_windows is None:
            rows, labels = self.rows[first:last], None if self.labels is None else self.labels[first:last]
        else:
            rows, labels = self.sequence_ids[first:last], None
        return TextBatch(
            input_ids=self.input_ids[start:stop],
            position_ids=self.position_ids[start:stop],
            cu_seqlens=self.cu_seqlens[first : last + 1] - start,
            lengths=self.lengths[first:last],
            rows=rows,
            token_type_ids=None if self.token_type_ids is None else self.token_type_ids[start:stop],
            labels=labels,
            states=None if self.states is None else self.states[start:stop],
            num_layers_done=self.num_layers_done,
            order=None if self.order is None else self.order[first:last],
        )


def length_groups(lengths: Sequence[int]) -> list[LengthGroup]:
    """Return the runs of equal neighbors in ``lengths``; sequences without tokens belong to none."""
    groups: list[LengthGroup] = []
    start = 0
    for length, run in groupby(lengths):
        count = sum(1 for _ in run)
        if length:
            groups.append(LengthGroup(start, count, length))
        start += count * length
    return groups


def pack(
    sequences: Sequence[np.ndarray],
    rows: Sequence[int] | np.ndarray,
    *,
    token_type_ids: Sequence[np.ndarray] | None = None,
    labels: Sequence[int] | np.ndarray | None = None,
    num_windows: np.ndarray | None = None,
    window_ids: np.ndarray | None = None,
) -> TextBatch:
    """Return a batch of ``sequences`` (one integer array of ids each), ordered by length.

    The order is stable: sequences of one length keep the order in which they were given.

    Args:
        sequences: ids of each text, or of each of its windows.
        rows: ``(num_texts,)``, the row of each text in its split.
        token_type_ids: those of each sequence.
        labels: the texts' targets.
        num_windows: ``(num_texts,)``, how many of the sequences are of each text; ``None``: each is a text.
        window_ids: ``(num_sequences,)``, numbers of the sequences in their split.
    """
    lengths = np.fromiter((len(ids) for ids in sequences), dtype=np.int64, count=len(sequences))
    order = np.argsort(lengths, kind="stable")
    lengths = lengths[order]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    positions = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)  # (num_tokens,)
    if num_windows is not None and (num_windows == 1).all():
        num_windows = None
    is_windowed = num_windows is not None
    of_texts = np.arange(len(rows)) if is_windowed else order
    return TextBatch(
        input_ids=_concatenate(sequences, order),
        position_ids=torch.from_numpy(positions),
        cu_seqlens=_ends(ends),
        lengths=tuple(lengths.tolist()),
        rows=torch.from_numpy(np.asarray(rows, dtype=np.int64)[of_texts]),
        token_type_ids=None if token_type_ids is None else _concatenate(token_type_ids, order),
        labels=None if labels is None else torch.from_numpy(np.asarray(labels)[of_texts]),
        order=None if is_windowed else torch.from_numpy(order),
        cu_windows=None if num_windows is None else _ends(np.cumsum(num_windows)),
        window_order=torch.from_numpy(np.argsort(order)) if is_windowed else None,
        window_ids=None if window_ids is None else torch.from_numpy(window_ids[order]),
    )


def _ends(cumulated: np.ndarray) -> Tensor:
    return torch.from_numpy(np.concatenate(([0], cumulated)).astype(np.int32))


def _concatenate(parts: Sequence[np.ndarray], order: np.ndarray) -> Tensor:
    joined = np.concatenate([parts[index] for index in order]) if len(parts) else np.empty(0)
    return torch.from_numpy(joined.astype(np.int64))


def pad(packed: Tensor, batch: TextBatch, value: float = 0) -> Tensor:
    """Return ``(num_tokens, ...)`` as ``(num_sequences, longest, ...)``, padded with ``value``."""
    shape = (batch.num_sequences, max(batch.lengths), *packed.shape[1:])
    padded = packed.new_full(shape, value)
    padded[padding_mask(batch)] = packed
    return padded


def unpad(padded: Tensor, batch: TextBatch) -> Tensor:
    """Return ``(num_sequences, longest, ...)`` as ``(num_tokens, ...)``: the inverse of ``pad``."""
    return padded[padding_mask(batch)]


def padding_mask(batch: TextBatch) -> Tensor:
    """Return ``(num_sequences, longest)``, True where there is a real token."""
    lengths = batch.cu_seqlens.diff()
    return torch.arange(max(batch.lengths), device=lengths.device) < lengths[:, None]
