"""Long texts cut into pieces, so that pre-training sees all of their tokens."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from datasets import Dataset
from tokenizers import Tokenizer

from bert_ft.data.arrow_cache import stored_dataset
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.raw_splits import CacheDir
from bert_ft.data.texts import iterate_texts
from bert_ft.data.tokenization import FastTokenizer, tokenize

_SCHEMA = pa.schema([("text", pa.string()), ("position", pa.int64())])


def in_pieces(
    split: TokenizedSplit, tokenizer: FastTokenizer, max_length: int, cache_dir: CacheDir
) -> TokenizedSplit:
    """Return the texts in pieces of at most ``max_length`` tokens, including special ones, cut between words if possible.

    Pieces keep the row number, the label and the order of their text.
    """
    room = max_length - tokenizer.num_special_tokens_to_add()
    backend = Tokenizer.from_str(
        tokenizer.backend_tokenizer.to_str()
    )  # a copy: what is set here must not stay
    backend.no_truncation()
    backend.no_padding()
    dataset = stored_dataset(_SCHEMA, _batches(split.texts, backend, room), cache_dir)
    position = np.asarray(dataset.with_format("numpy")["position"][:], dtype=np.int64)
    texts = dataset.select_columns(["text"])
    return TokenizedSplit(
        name=split.name,
        columns=tokenize(texts, tokenizer, max_length, cache_dir),
        index=np.arange(len(texts)),
        texts=texts,
        rows=split.rows[position],
        labels=None if split.labels is None else split.labels[position],
        origin=split.origin,
    )


def _batches(dataset: Dataset, backend: Tokenizer, room: int) -> Iterator[pa.RecordBatch]:
    first = 0
    for (texts,) in iterate_texts(dataset):
        encodings = backend.encode_batch(texts, add_special_tokens=False)
        found = [
            _fitting(text, encoding.offsets, backend, room)
            for text, encoding in zip(texts, encodings, strict=True)
        ]
        positions = [position for position, pieces in enumerate(found, first) for _ in pieces]
        first += len(texts)
        pieces = {"text": [piece for pieces in found for piece in pieces], "position": positions}
        yield pa.RecordBatch.from_pydict(pieces, schema=_SCHEMA)


def _fitting(text: str, offsets: list[tuple[int, int]], backend: Tokenizer, room: int) -> list[str]:
    """Return the pieces of a text, none of more than ``room`` tokens; see ``_pieces``."""
    pieces = list(_pieces(text, offsets, room))
    if len(pieces) < 2:
        return pieces
    found = []
    for piece, encoding in zip(pieces, backend.encode_batch(pieces, add_special_tokens=False), strict=True):
        if len(encoding) <= room or room < 2:
            found.append(piece)
        else:  # a cut within a word can change its tokens: halves leave room for that
            found += _fitting(piece, encoding.offsets, backend, room // 2)
    return found


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
