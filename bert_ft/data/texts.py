"""The text columns of a dataset, a batch at a time, and keys that identify equal texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH_ROWS = 1000


def text_columns(dataset: Dataset) -> list[str]:
    """``["text"]``, or ``["text", "text_pair"]`` for pairs."""
    return [name for name in ("text", "text_pair") if name in dataset.column_names]


def iterate_texts(dataset: Dataset, batch_size: int = _BATCH_ROWS) -> Iterator[list[list[str]]]:
    """Yield the values of each text column, batch by batch."""
    table_batches = dataset.select_columns(text_columns(dataset)).with_format("arrow").iter(batch_size)
    for table in table_batches:
        yield [column.to_pylist() for column in table.columns]


def texts_digest(dataset: Dataset) -> str:
    """Return a hash of all texts in order, independent of how the dataset is stored."""
    # Characters and lengths apart, so that it doesn't matter where a batch ends.
    hashes = [(sha256(), sha256()) for _ in text_columns(dataset)]
    for columns in iterate_texts(dataset):
        for (characters, lengths), texts in zip(hashes, columns, strict=True):
            characters.update("".join(texts).encode())
            lengths.update(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)).tobytes())
    return sha256(b"".join(part.digest() for pair in hashes for part in pair)).hexdigest()


@dataclass(frozen=True)
class TextKeys:
    """Hashes of each row's text, or of both texts of a pair: equal keys are equal texts.

    64 bits: among a million different texts the probability of a collision is 3e-8.

    Attributes:
        exact: ``(num_rows,)`` uint64, hashes of the unchanged texts.
        near: ``(num_rows,)`` uint64, hashes that ignore case, white space and Unicode form.
    """

    exact: np.ndarray
    near: np.ndarray

    @classmethod
    def of(cls, dataset: Dataset) -> TextKeys:
        """Return the keys of all rows."""
        return cls(_keys(dataset, str), _keys(dataset, normalized))

    def select(self, index: np.ndarray) -> TextKeys:
        return TextKeys(self.exact[index], self.near[index])


def normalized(text: str) -> str:
    """Return ``text`` in Unicode form C, case-folded, with single spaces for white space and none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _keys(dataset: Dataset, form: Callable[[str], str]) -> np.ndarray:
    rows = (row for columns in iterate_texts(dataset) for row in zip(*columns, strict=True))
    return np.fromiter((_key(row, form) for row in rows), dtype=np.uint64, count=len(dataset))


def _key(texts: tuple[str, ...], form: Callable[[str], str]) -> int:
    digest = blake2b(digest_size=8)
    for text in texts:
        content = form(text).encode()
        digest.update(len(content).to_bytes(8, "little"))  # ("ab", "c") isn't ("a", "bc")
        digest.update(content)
    return int.from_bytes(digest.digest(), "little")
