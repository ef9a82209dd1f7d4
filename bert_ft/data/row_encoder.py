"""The ids of rows, with special tokens: cut to the length limit or in windows, and what that loses."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from bert_ft.data.long_texts import CUT, FIRST, LongTexts, kept_positions
from bert_ft.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Ids = Sequence[int] | np.ndarray


@dataclass
class EncodedRows:
    """Some rows as sequences of ids.

    Attributes:
        ids: the sequences of all rows, one row after the other.
        type_ids: the token types of each sequence; empty if they aren't needed.
        num_windows: ``(num_rows,)``, sequences of each row.
        full_lengths: ``(num_rows,)``, tokens of each row in one sequence, before a cut.
        num_truncated: ``(num_rows,)``, tokens of each row that are in none of its sequences.
    """

    ids: list[Ids]
    type_ids: list[Ids]
    num_windows: np.ndarray
    full_lengths: np.ndarray
    num_truncated: np.ndarray


class RowEncoder:
    """A private copy of a tokenizer that also counts what truncation takes away.

    Raises:
        ConfigError: ``max_length`` leaves no room for text, or windows wouldn't advance.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, max_length: int, is_pair: bool, long_texts: LongTexts
    ) -> None:
        self.num_special_tokens = tokenizer.num_special_tokens_to_add(pair=is_pair)
        if max_length <= self.num_special_tokens:
            raise ConfigError(
                f"data.max_length={max_length}: the tokenizer adds {self.num_special_tokens} special tokens; "
                f"at least {self.num_special_tokens + 1} are needed"
            )
        long_texts.check(max_length, self.num_special_tokens, is_pair=is_pair)
        self.with_token_types = is_pair and "token_type_ids" in tokenizer.model_input_names
        self._is_pair = is_pair
        self._room = max_length - self.num_special_tokens
        self._long_texts = long_texts
        # Copies: on the tokenizer itself these settings would remain for its next user.
        serialized = tokenizer.backend_tokenizer.to_str()
        self._full = Tokenizer.from_str(serialized)
        self._full.no_padding()
        self._full.no_truncation()
        self._full.encode_special_tokens = tokenizer.split_special_tokens
        content = self._full.to_str()
        self._cut = Tokenizer.from_str(content)
        self._cut.enable_truncation(max_length, direction=tokenizer.truncation_side)
        settings: tuple[object, ...] = (
            max_length,
            tokenizer.truncation_side,
            tokenizer.split_special_tokens,
            self.with_token_types,
        )
        if described := long_texts.described():
            settings += (sorted(described.items()),)
        self.identity = f"{settings}{content}"

    def encode(self, texts: Sequence[list[str]]) -> EncodedRows:
        """Return the sequences of each row; ``texts`` are the columns of the rows.

        The whole text is encoded first and cut afterwards, by the tokenizer's own post-processing: its
        overflow list doesn't show for pairs how much was lost.
        """
        full = [self._full.encode_batch_fast(column, add_special_tokens=False) for column in texts]
        rows: list[Any] = list(zip(*full, strict=True))
        full_lengths = np.sum([lengths_of(column) for column in full], axis=0) + self.num_special_tokens
        found = EncodedRows([], [], np.ones(len(rows), np.int64), full_lengths, np.zeros(len(rows), np.int64))
        is_long = full_lengths > self._room + self.num_special_tokens
        is_plain = not self._long_texts.described()
        for number, row in enumerate(rows):
            if is_plain or not is_long[number]:
                encoding = self._cut.post_process(*row)
                found.ids.append(encoding.ids)
                found.type_ids.append(encoding.type_ids if self.with_token_types else [])
                found.num_truncated[number] = full_lengths[number] - len(encoding)
                continue
            parts = [np.array(text.ids, dtype=np.int64) for text in row]
            is_cut = self._long_texts.mode == CUT
            sequences, lost = self._ends(parts) if is_cut else self._windows(parts)
            found.num_windows[number], found.num_truncated[number] = len(sequences), lost
            for each in sequences:
                ids, types = self._template.around(each)
                found.ids.append(ids)
                found.type_ids.append(types)
        return found

    @cached_property
    def _template(self) -> _Template:
        text, other = self._full.encode_batch_fast(["a", "a"], add_special_tokens=False)
        whole = self._full.post_process(text, other if self._is_pair else None)
        return _Template.of(whole, [len(text)] * (2 if self._is_pair else 1))

    def _ends(self, parts: list[np.ndarray]) -> tuple[list[list[np.ndarray]], int]:
        """Return both ends of each text, as many tokens of each as the tokenizer's own truncation keeps.

        Of a pair the shorter one has up to half of the room, and the longer one the rest.
        """
        kept = [self._room]
        if len(parts) == 2:
            shorter = int(len(parts[0]) > len(parts[1]))
            fewer = min(len(parts[shorter]), self._room // 2)
            kept = [self._room - fewer, fewer] if shorter else [fewer, self._room - fewer]
        ends = [part[kept_positions(len(part), count)] for part, count in zip(parts, kept, strict=True)]
        return [ends], sum(map(len, parts)) - sum(map(len, ends))

    def _windows(self, parts: list[np.ndarray]) -> tuple[list[list[np.ndarray]], int]:
        """Return the texts of each window, and how many tokens of the other text of a pair are lost.

        The other text is whole if a window can advance beside it; else it is cut to half of the room, or to what the
        windowed text leaves of it.
        """
        room, lost = self._room, 0
        if len(parts) == 1:
            return [[parts[0][slice(*span)]] for span in self._long_texts.spans(len(parts[0]), room)], 0
        windowed = 0 if self._long_texts.windowed_text == FIRST else 1
        text, other = parts[windowed], parts[1 - windowed]
        if room - len(other) <= self._long_texts.stride:
            kept = max(room - len(text), room // 2)
            lost, other = max(len(other) - kept, 0), other[:kept]
        windows = [text[slice(*span)] for span in self._long_texts.spans(len(text), room - len(other))]
        return [[window, other] if windowed == 0 else [other, window] for window in windows], lost


@dataclass(frozen=True)
class _Template:
    """The special tokens of a row, and the token types of all its tokens: those of the special ones and of each text.

    Our own, since the tokenizers library gives the windows of a pair wrong token types (0.22).
    """

    special_ids: list[np.ndarray]
    special_types: list[np.ndarray]
    text_types: list[int]

    @classmethod
    def of(cls, encoding: Encoding, lengths: Sequence[int]) -> _Template:
        """Return what surrounds the texts of a row; ``lengths`` are the number of tokens of each, at least one."""
        ids, types = np.array(encoding.ids, dtype=np.int64), np.array(encoding.type_ids, dtype=np.int64)
        # sequence_ids lack the first text of a pair where a tokenizer has BERT's own post-processor
        places = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
        texts = np.split(places, np.cumsum(lengths)[:-1])
        edges = [0, *(edge for text in texts for edge in (text[0], text[-1] + 1)), len(ids)]
        between = [slice(*pair) for pair in zip(edges[::2], edges[1::2], strict=True)]
        return cls(
            [ids[each] for each in between],
            [types[each] for each in between],
            [int(types[text[0]]) for text in texts],
        )

    def around(self, texts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of the texts with their special tokens, and the token types."""
        ids, types = [self.special_ids[0]], [self.special_types[0]]
        for place, text in enumerate(texts):
            ids += [text, self.special_ids[place + 1]]
            types += [np.full(len(text), self.text_types[place]), self.special_types[place + 1]]
        return np.concatenate(ids), np.concatenate(types)


def lengths_of(sequences: Sequence[Sized]) -> np.ndarray:
    """Return the length of each."""
    return np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
