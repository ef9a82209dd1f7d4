"""Cache of the frozen layers' output: computed once per row, then read from disk.

This changes the mathematics of training: the frozen part runs without dropout, since a mask that is drawn only once
wouldn't be dropout. Everything above it, and all evaluation, is the same as without a cache, except for
rounding, since batches have other shapes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from bert_ft.data.packing import TextBatch
from bert_ft.errors import ConfigError
from bert_ft.models.frozen import frozen_states

_BYTES = 4  # of a float32


class FrozenStates:
    """Add the output of the first layers to batches, in float32 whatever the precision of the layers.

    The rows of a split are in a memory-mapped temporary file without a name, so that the disk space is freed whenever and
    however the process ends. Each process has its own files.

    Args:
        encoder: an encoder with a frozen lower part, of a family with BERT's own layers.
        lengths: split name → number of tokens of each row.
        num_layers: number of frozen layers whose output is kept.
        max_tokens: a batch of more tokens is computed in parts.

    Raises:
        ConfigError: the disk of the temporary folder has too little space.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        lengths: Mapping[str, np.ndarray],
        *,
        num_layers: int,
        max_tokens: int,
    ) -> None:
        self._encoder = encoder
        self._lengths = lengths
        self._num_layers = num_layers
        self._max_tokens = max_tokens
        self._kept: dict[str, _RowFile] = {}
        _check_space(sum(int(split.sum()) for split in lengths.values()), encoder.config.hidden_size)

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenStates:
        """Return itself: a copy of the module, made for averaging, reads the same files."""
        return self

    def attach(self, batch: TextBatch, split: str) -> TextBatch:
        """Return ``batch`` with its ``states``: read if all of its rows are kept, else computed and kept."""
        if split not in self._kept:  # created on first use, by the process that uses it
            self._kept[split] = _RowFile(self._lengths[split], self._encoder.config.hidden_size)
        kept = self._kept[split]
        rows = batch.sequence_ids.tolist()  # waits for a GPU, once per batch
        if kept.has(rows):
            states = torch.from_numpy(kept.read(rows)).to(batch.input_ids.device)
        else:
            states = self._compute(batch)
            kept.write(rows, states.cpu().numpy())
        return replace(batch, states=states, num_layers_done=self._num_layers)

    def close(self) -> None:
        """Free the disk space; later requests are computed again."""
        self._kept.clear()

    def _compute(self, batch: TextBatch) -> Tensor:
        pieces = batch.split(self._max_tokens)
        return torch.cat([frozen_states(self._encoder, piece, self._num_layers) for piece in pieces]).float()


class _RowFile:
    """Rows of ``(length, width)`` float32 in a file, and which of them have been written."""

    def __init__(self, lengths: np.ndarray, width: int) -> None:
        self._offsets = np.concatenate(([0], np.cumsum(lengths)))
        self._filled = np.zeros(len(lengths), dtype=bool)
        self._values = _mapped_file(int(self._offsets[-1]), width)

    def has(self, rows: Sequence[int]) -> bool:
        return bool(self._filled[rows].all())

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """Return the concatenated rows, ``(num_tokens, width)``."""
        return np.concatenate([self._values[start:stop] for start, stop in self._spans(rows)])

    def write(self, rows: Sequence[int], values: np.ndarray) -> None:
        """Write the rows; the inverse of ``read``."""
        first = 0
        for start, stop in self._spans(rows):
            self._values[start:stop] = values[first : first + stop - start]
            first += stop - start
        self._filled[rows] = True

    def _spans(self, rows: Sequence[int]) -> list[tuple[int, int]]:
        starts, stops = self._offsets[rows], self._offsets[np.add(rows, 1)]
        return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _mapped_file(num_tokens: int, width: int) -> np.ndarray:
    _check_space(num_tokens, width)
    with tempfile.TemporaryFile(prefix="bert_ft_") as file:
        if hasattr(os, "posix_fallocate"):
            # if others fill the disk later, writing to the map would kill the process without a message
            os.posix_fallocate(file.fileno(), 0, num_tokens * width * _BYTES)
        return np.memmap(file, np.float32, "w+", shape=(num_tokens, width)).view(np.ndarray)


def _check_space(num_tokens: int, width: int) -> None:
    folder = tempfile.gettempdir()
    needed, free = num_tokens * width * _BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"encoder.cache_frozen=true: {num_tokens:,} tokens of {width * _BYTES:,} bytes take {needed:,} bytes, "
            f"but {folder} has {free:,} free; set TMPDIR to a folder on a larger disk, or encoder.cache_frozen to false"
        )
