"""Which rows form a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class RandomBatches:
    """Training batches: lists of row indices in a new random order each epoch.

    Rows are drawn regardless of their length, so that each batch is a fair sample. All replicas get the same
    number of batches: missing rows are filled up with the first ones of the order, as in torch's
    ``DistributedSampler``, or surplus rows are dropped with ``drop_last``.

    At the end of an epoch the next one is set; ``set_epoch`` with its number then changes nothing. An
    interrupted epoch continues where it stopped. Workers of a data loader fetch ahead: then ``position``
    counts the fetched batches; to resume, set it to the number of trained ones.

    Attributes:
        epoch: decides the order, together with the seed.
        position: batches of this epoch that were given out.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        seed: int,
        num_replicas: int = 1,
        rank: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.seed = seed
        self.num_replicas = num_replicas
        self.rank = rank
        self.drop_last = drop_last
        self.epoch = 0
        self.position = 0

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch, on each replica."""
        if self.drop_last:
            return self.num_rows // self.num_replicas // self.batch_size
        return -(-self.num_rows // self.num_replicas // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        rows = self._rows()
        while self.position < len(self):
            start = self.position * self.batch_size
            self.position += 1
            yield rows[start : start + self.batch_size].tolist()
        self.set_epoch(self.epoch + 1)

    def _rows(self) -> np.ndarray:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.num_rows)
        rows_each = -(-self.num_rows // self.num_replicas)
        return np.resize(order, rows_each * self.num_replicas)[self.rank :: self.num_replicas]

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of ``epoch``, unless it is the current one."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


class NumberedBatches(RandomBatches):
    """``RandomBatches`` that yields the epoch with each batch: ``(epoch, rows)``."""

    def __iter__(self) -> Iterator[Any]:
        for rows in super().__iter__():
            yield self.epoch, rows


class SortedBatches:
    """Evaluation batches: every row once, longest first, so that a lack of memory shows at once.

    All replicas get the same number of batches if there are enough rows: large ones are halved until the
    count is a multiple of the replicas.

    Args:
        lengths: ``(num_rows,)`` tokens in each row.
        batch_size: maximum number of rows in a batch.
        max_tokens: maximum number of tokens in a batch; a longer row is a batch of its own. ``None``: no limit.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        max_tokens: int | None = None,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        batches = _even_out(_fill(np.asarray(lengths), batch_size, max_tokens), num_replicas)
        self._batches = batches[rank::num_replicas]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)


class FixedBatches:
    """Evaluation batches: every row once, in one random order, so that each batch is a fair sample.

    Batches are ``(0, rows)``. Batches of ``SortedBatches`` hold texts of equal length, which are harder for a
    contrastive loss. As there, all replicas get the same number of batches.
    """

    def __init__(
        self, num_rows: int, batch_size: int, seed: int, num_replicas: int = 1, rank: int = 0
    ) -> None:
        order = np.random.default_rng(seed).permutation(num_rows).tolist()
        batches = [order[start : start + batch_size] for start in range(0, num_rows, batch_size)]
        self._batches = _even_out(batches, num_replicas)[rank::num_replicas]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return ((0, rows) for rows in self._batches)


def _fill(lengths: np.ndarray, batch_size: int, max_tokens: int | None) -> list[list[int]]:
    batches: list[list[int]] = []
    num_tokens = 0
    for row in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[row])
        is_full = max_tokens is not None and num_tokens + length > max_tokens
        if not batches or is_full or len(batches[-1]) == batch_size:
            batches.append([])
            num_tokens = 0
        batches[-1].append(row)
        num_tokens += length
    return batches


def _even_out(batches: list[list[int]], num_replicas: int) -> list[list[int]]:
    while len(batches) % num_replicas:
        largest = max(range(len(batches)), key=lambda index: len(batches[index]))
        rows = batches[largest]
        if len(rows) == 1:
            break
        half = len(rows) // 2
        batches[largest : largest + 1] = [rows[:half], rows[half:]]
    return batches
