"""Texts as a caller in Python gives them: lists, columns, frames or generators, read a block at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bert_ft.data.frames import column_names, is_frame, values_of
from bert_ft.errors import DataError

BLOCK_ROWS = 8192  # enough texts to sort by length, few enough to forget


class NotATextError(DataError, TypeError):
    """A value that isn't a text where one is needed."""


def blocks_of(
    given: Any, text_column: str, pair_column: str | None, num_rows: int = BLOCK_ROWS
) -> Iterator[list[list[str]]]:
    """Yield blocks of rows as columns of texts: one column, or two for pairs.

    Args:
        given: texts, or pairs of texts as tuples or lists; a frame with the columns.
        text_column: column of the texts of a frame.
        pair_column: column of the second texts; ``None``: the rows are single texts.
        num_rows: number of rows in a block.

    Raises:
        NotATextError: a value isn't a text; its position, from 0, is named.
        DataError: a frame lacks a column.
    """
    if isinstance(given, str | bytes):
        kind = "one pair of texts" if pair_column else "one text"
        raise NotATextError(
            f"texts: got {kind} as {type(given).__name__}; pass a list, e.g. [{_shown(given)}]"
        )
    rows = _rows_of_frame(given, text_column, pair_column) if is_frame(given) else values_of(given)
    if not isinstance(rows, Iterable):
        raise NotATextError(
            f"texts: got {type(given).__name__}; pass a list of texts, a column, a frame or a generator"
        )
    if isinstance(rows, Sequence):
        # all are checked before the first is predicted
        checked = [_checked(row, place, pair_column is not None) for place, row in enumerate(rows)]
        for start in range(0, len(checked), num_rows):
            yield _as_columns(checked[start : start + num_rows])
        return
    block: list[tuple[str, ...]] = []
    for place, row in enumerate(rows):
        block.append(_checked(row, place, pair_column is not None))
        if len(block) == num_rows:
            yield _as_columns(block)
            block = []
    if block:
        yield _as_columns(block)


def _rows_of_frame(frame: Any, text_column: str, pair_column: str | None) -> Sequence[Any]:
    names = [text_column] if pair_column is None else [text_column, pair_column]
    for name in names:
        if name not in (existing := column_names(frame)):
            shown = ", ".join(map(repr, existing[:30]))
            raise DataError(
                f"texts: the frame has no column {name!r}, which the model was trained on; its columns are {shown}; "
                "pass the column of the texts itself"
            )
    columns = [values_of(frame[name]) for name in names]
    return columns[0] if pair_column is None else list(zip(*columns, strict=True))


def _checked(row: Any, place: int, is_pair: bool) -> tuple[str, ...]:
    if not is_pair:
        return (_text(row, place, is_pair),)
    if not isinstance(row, tuple | list) or len(row) != 2:
        raise NotATextError(
            f"texts, position {place}: {_shown(row)} ({type(row).__name__}) isn't a pair; the model was trained on pairs, so "
            "pass tuples (text, second text)"
        )
    return _text(row[0], place, is_pair), _text(row[1], place, is_pair)


def _text(value: Any, place: int, is_pair: bool) -> str:
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise DataError(
                    f"texts, position {place}: {_shown(value)} has half a surrogate pair, which is no character; remove it"
                ) from error
        return str(value)
    what = "a pair" if isinstance(value, tuple | list) and not is_pair else type(value).__name__
    advice = "the model was trained on single texts" if what == "a pair" else "pass strings"
    raise NotATextError(f"texts, position {place}: {_shown(value)} ({what}) isn't a text; {advice}")


def _as_columns(rows: list[tuple[str, ...]]) -> list[list[str]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
