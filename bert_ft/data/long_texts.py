"""``data.long_texts``: what becomes of texts that are longer than ``data.max_length``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bert_ft.errors import ConfigError

CUT, WINDOWS, AUTO = "cut", "windows", "auto"
FIRST, SECOND = "first", "second"
MIDDLE = "middle"
MOST_LOST = 0.01  # share of the training tokens that `auto` lets a cut take away


@dataclass(frozen=True)
class LongTexts:
    """What becomes of a text that doesn't fit.

    Attributes:
        mode: ``cut``; ``windows``: overlapping windows of at most ``max_length`` tokens, each with its special tokens;
            ``auto``: one of the two, chosen from the lengths of the training texts (see ``chosen``).
        stride: tokens that neighboring windows share.
        windowed_text: which text of a pair is windowed, ``first`` or ``second``; each window has the whole other one.
        keeps_ends: ``cut`` takes tokens out of the middle of a text (``data.truncation_side=middle``).
    """

    mode: str = CUT
    stride: int = 0
    windowed_text: str = SECOND
    keeps_ends: bool = False

    def check(self, max_length: int, num_special_tokens: int, *, is_pair: bool) -> None:
        """Refuse windows that don't advance.

        Raises:
            ConfigError: names the largest possible stride.
        """
        if self.mode == CUT:
            return
        room = max_length - num_special_tokens
        most = (room - 1) // 2 if is_pair else room - 1
        if self.stride > most:
            why = "of a pair at most half of it" if is_pair else "a window must advance by at least one"
            raise ConfigError(
                f"data.stride={self.stride}: data.max_length={max_length} leaves room for {room} tokens besides "
                f"{num_special_tokens} special ones, and {why}: at most {most}; lower it or raise data.max_length"
            )

    def described(self) -> dict[str, Any]:
        """Return the settings that a saved folder needs; empty if texts are cut as the tokenizer cuts them."""
        if self.mode == CUT:
            return {"mode": CUT, "keeps_ends": True} if self.keeps_ends else {}
        return {"mode": self.mode, "stride": self.stride, "windowed_text": self.windowed_text}

    @classmethod
    def restored(cls, description: Mapping[str, Any]) -> LongTexts:
        """Return what ``described`` returned the description of."""
        return cls(**description)

    def spans(self, length: int, room: int) -> list[tuple[int, int]]:
        """Return where windows of at most ``room`` tokens begin and end in a text; every token is in one of them."""
        if length <= room:
            return [(0, length)]
        starts = range(0, length - self.stride, room - self.stride)
        return [(start, min(start + room, length)) for start in starts]


def kept_positions(length: int, wanted: int) -> np.ndarray:
    """Return the positions of the first and last ``wanted`` tokens of a text, half of each."""
    first = -(-wanted // 2)
    return np.r_[0 : min(first, length), max(length - wanted // 2, min(first, length)) : length]


def chosen(
    settings: LongTexts, full_lengths: np.ndarray, max_length: int, limit: int | None
) -> tuple[LongTexts, str]:
    """Return the settings with ``cut`` or ``windows`` in place of ``auto``, and a sentence that says why.

    Texts are cut if that takes away at most ``MOST_LOST`` of the training tokens.

    Args:
        settings: with ``auto``.
        full_lengths: ``(num_rows,)`` tokens of each training text before a cut, including special tokens.
        max_length: the length limit in tokens.
        limit: maximum number of tokens that the encoder takes, if known.
    """
    over = np.maximum(full_lengths - max_length, 0)
    lost = float(over.sum() / max(full_lengths.sum(), 1))
    mode = CUT if lost <= MOST_LOST else WINDOWS
    takes = f" (the encoder takes up to {limit:,})" if limit is not None else ""
    if not lost:
        reason = f"no training text is longer than data.max_length={max_length}{takes}"
    else:
        longest = f"the longest has {int(full_lengths.max()):,} tokens"
        share = f"{float((over > 0).mean()):.1%} of the training texts are longer than data.max_length={max_length}{takes}"
        reason = f"{share}, {longest}, and a cut would lose {lost:.1%} of all tokens"
        if mode == CUT:
            reason += f", no more than {MOST_LOST:.0%}"
    return replace(settings, mode=mode), f"data.long_texts=auto: chose {mode}: {reason}"


def sampled_windows(
    num_windows: Sequence[int] | np.ndarray, rows: Sequence[int], max_windows: int, seed: int, epoch: int
) -> list[np.ndarray]:
    """Return which windows of each row are trained in an epoch: all, or ``max_windows`` from all over the text.

    A text with more windows is divided into ``max_windows`` equal runs of them, and one of each run is drawn. The draw
    depends on the seed, the epoch and the row alone, so that a resumed run repeats it.
    """
    found = []
    for row, count in zip(rows, num_windows, strict=True):
        if count <= max_windows:
            found.append(np.arange(count))
            continue
        edges = np.arange(max_windows + 1) * int(count) // max_windows
        rng = np.random.default_rng([seed, epoch, int(row), count])
        found.append(rng.integers(edges[:-1], edges[1:]))
    return found
