"""Long texts cut into pieces, so that pre-training sees all of their tokens."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from datasets import Dataset
from tokenizers import Tokenizer

from bert_ft.data.arrow_cache import stored_dataset
from bert_ft.data.raw_splits import CacheDir, RawSplit
from bert_ft.data.texts import iterate_texts
from bert_ft.data.tokenization import FastTokenizer

_SCHEMA = pa.schema([("text", pa.string()), ("row", pa.int64())])


def in_pieces(raw: RawSplit, tokenizer: FastTokenizer, max_length: int, cache_dir: CacheDir) -> RawSplit:
    """Return the texts in pieces of at most ``max_length`` tokens, including special ones, cut between words if possible.

    Pieces keep the row number and the order of their text. A cut within a word can change its tokens, so that a piece may be
    a few tokens too long.
    """
    room = max_length - tokenizer.num_special_tokens_to_add()
    backend = Tokenizer.from_str(
        tokenizer.backend_tokenizer.to_str()
    )  # a copy: what is set here must not stay
    backend.no_truncation()
    backend.no_padding()
    dataset = stored_dataset(_SCHEMA, _batches(raw, backend, room), cache_dir)
    rows = np.asarray(dataset.with_format("numpy")["row"][:], dtype=np.int64)
    return RawSplit(_texts(dataset), raw.origin, rows)


def _texts(dataset: Dataset) -> Dataset:
    return dataset.select_columns(["text"])


def _batches(raw: RawSplit, backend: Tokenizer, room: int) -> Iterator[pa.RecordBatch]:
    first = 0
    for (texts,) in iterate_texts(raw.dataset):
        pieces, rows = [], []
        encodings = backend.encode_batch(texts, add_special_tokens=False)
        for index, (text, encoding) in enumerate(zip(texts, encodings, strict=True), first):
            for piece in _pieces(text, encoding.offsets, room):
                pieces.append(piece)
                rows.append(int(raw.rows[index]))
        first += len(texts)
        yield pa.RecordBatch.from_pydict({"text": pieces, "row": rows}, schema=_SCHEMA)


def _pieces(text: str, offsets: list[tuple[int, int]], room: int) -> Iterator[str]:
    """Yield the parts of ``text``; ``offsets`` are where each of its tokens begins and ends."""
    start, begin = 0, 0  # token, character
    while len(offsets) - start > room:
        stop = start + room
        cut = next(
            (i for i in range(stop, start + room // 2, -1) if _is_between_words(text, offsets, i)), stop
        )
        end = offsets[cut][0]
        if piece := text[begin:end].strip():
            yield piece
        start, begin = cut, end
    if piece := text[begin:].strip():
        yield piece


def _is_between_words(text: str, offsets: list[tuple[int, int]], token: int) -> bool:
    begin = offsets[token][0]
    return text[begin : begin + 1].isspace() or text[max(begin - 1, 0) : begin].isspace()
