"""Long texts cut into pieces, so that pre-training sees all of their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from datasets import Dataset
from tokenizers import Tokenizer

from bert_ft.data.arrow_cache import stored_dataset
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.raw_splits import CacheDir
from bert_ft.data.texts import iterate_texts, text_columns
from bert_ft.data.tokenization import FastTokenizer, tokenize

Offsets = Sequence[tuple[int, int]]  # where each token of a text begins and ends


def in_pieces(
    split: TokenizedSplit, tokenizer: FastTokenizer, max_length: int, cache_dir: CacheDir
) -> TokenizedSplit:
    """Return the texts in pieces of at most ``max_length`` tokens, including special ones, cut between words if possible.

    Pieces keep the row number, the label and the order of their text. Of a pair that is too long, the shorter text is
    whole in each piece if it takes at most half of the room; otherwise both texts are cut, and the pieces of the one
    that has fewer are repeated.
    """
    names = text_columns(split.texts)
    room = max_length - tokenizer.num_special_tokens_to_add(pair=len(names) == 2)
    backend = Tokenizer.from_str(
        tokenizer.backend_tokenizer.to_str()
    )  # a copy: what is set here must not stay
    backend.no_truncation()
    backend.no_padding()
    schema = pa.schema([*((name, pa.string()) for name in names), ("position", pa.int64())])
    dataset = stored_dataset(schema, _batches(split.texts, schema, backend, room), cache_dir)
    position = np.asarray(dataset.with_format("numpy")["position"][:], dtype=np.int64)
    texts = dataset.select_columns(names)
    return TokenizedSplit(
        name=split.name,
        columns=tokenize(texts, tokenizer, max_length, cache_dir),
        index=np.arange(len(texts)),
        texts=texts,
        rows=split.rows[position],
        labels=None if split.labels is None else split.labels[position],
        origin=split.origin,
    )


def _batches(dataset: Dataset, schema: pa.Schema, backend: Tokenizer, room: int) -> Iterator[pa.RecordBatch]:
    first = 0
    for columns in iterate_texts(dataset):
        encodings = [backend.encode_batch(texts, add_special_tokens=False) for texts in columns]
        rows = zip(zip(*columns, strict=True), zip(*encodings, strict=True), strict=True)
        found = [
            (*piece, position)
            for position, (texts, encoded) in enumerate(rows, first)
            for piece in _of_row(texts, [each.offsets for each in encoded], backend, room)
        ]
        first += len(columns[0])
        yield pa.RecordBatch.from_arrays(list(map(pa.array, zip(*found, strict=True))), schema=schema)


def _of_row(
    texts: tuple[str, ...], offsets: Sequence[Offsets], backend: Tokenizer, room: int
) -> list[tuple[str, ...]]:
    """Return the pieces of a text, or of a pair; ``room`` is for the tokens of all ``texts``."""
    lengths = list(map(len, offsets))
    if sum(lengths) <= room or room < len(texts):
        return [texts]
    rooms = [room]
    if len(texts) == 2:
        fewer = min(*lengths, room // 2)
        rooms = [fewer, room - fewer] if lengths[0] <= lengths[1] else [room - fewer, fewer]
    pieces = [
        _fitting(text, spans, backend, limit) or [text]
        for text, spans, limit in zip(texts, offsets, rooms, strict=True)
    ]
    num_rows = max(map(len, pieces))
    return [tuple(found[number * len(found) // num_rows] for found in pieces) for number in range(num_rows)]


def _fitting(text: str, offsets: Offsets, backend: Tokenizer, room: int) -> list[str]:
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


def _pieces(text: str, offsets: Offsets, room: int) -> Iterator[str]:
    """Yield the parts of ``text`` of about ``room`` tokens each."""
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


def _is_between_words(text: str, offsets: Offsets, token: int) -> bool:
    begin = offsets[token][0]
    return text[begin : begin + 1].isspace() or text[max(begin - 1, 0) : begin].isspace()
