"""Training texts that are changed slightly each time they are read.

Sources: Wei and Zou 2019, arXiv 1901.11196 (random deletion and swap); Joshi et al. 2020, arXiv 1907.10529
(spans of geometric length).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from bert_ft.data.dataset import SampledWindows, TokenizedSplit
from bert_ft.data.packing import TextBatch
from bert_ft.limits import BelowOne, Rule, check_limits


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Deletes tokens, swaps pairs of tokens, masks spans; special tokens stay where they are.

    Attributes:
        token_deletion_prob: probability that a token is deleted; at least one token of each text stays.
        token_swap_prob: number of swaps per token; each swap exchanges two tokens of one text.
        span_mask_ratio: share of tokens that become [MASK], in spans.
        mean_span_length: mean length of the spans in tokens; lengths are geometric, capped at 10.
    """

    token_deletion_prob: BelowOne = 0.0
    token_swap_prob: BelowOne = 0.0
    span_mask_ratio: BelowOne = 0.0
    mean_span_length: Annotated[float, Rule("number", at_least=1)] = 3.0

    def __post_init__(self) -> None:
        check_limits("data.augmentation", self)

    def __bool__(self) -> bool:
        """Return whether it changes anything."""
        return any((self.token_deletion_prob, self.token_swap_prob, self.span_mask_ratio))

    def __call__(
        self, ids: np.ndarray, segments: np.ndarray, mask_id: int | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the changed ids, and for each the position in ``ids`` that it replaces.

        Args:
            ids: ``(length,)`` token ids.
            segments: ``(length,)``, number of the text that each token belongs to (a pair has two), -1 for
                special tokens.
            mask_id: id of [MASK]; ``None`` if nothing is masked.
            rng: the only source of randomness.
        """
        kept = delete(segments, self.token_deletion_prob, rng)
        ids, segments = swap(ids[kept], segments[kept], self.token_swap_prob, rng), segments[kept]
        if self.span_mask_ratio:
            assert mask_id is not None
            hidden = spans(segments >= 0, self.span_mask_ratio, self.mean_span_length, rng)
            ids = np.where(hidden, mask_id, ids)
        return ids, kept


def delete(segments: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Return the positions that stay, ascending; at least one of each text."""
    if not probability:
        return np.arange(len(segments))
    stays = (rng.random(len(segments)) >= probability) | (segments < 0)
    for segment in np.unique(segments[segments >= 0]):
        places = np.flatnonzero(segments == segment)
        if not stays[places].any():
            stays[rng.choice(places)] = True
    return np.flatnonzero(stays)


def swap(ids: np.ndarray, segments: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Return ``ids`` after ``rate`` swaps per token (rounded), each between two positions of one text."""
    if not rate:
        return ids
    ids = ids.copy()
    for segment in np.unique(segments[segments >= 0]):
        places = np.flatnonzero(segments == segment)
        if len(places) < 2:
            continue
        for _ in range(round(rate * len(places))):
            first, second = rng.choice(places, size=2, replace=False)
            ids[[first, second]] = ids[[second, first]]
    return ids


def spans(allowed: np.ndarray, share: float, mean_length: float, rng: np.random.Generator) -> np.ndarray:
    """Return ``(length,)`` bool: ``share`` of the allowed tokens, in spans that special tokens interrupt."""
    hidden = np.zeros(len(allowed), dtype=bool)
    places = np.flatnonzero(allowed)
    wanted = round(share * len(places))
    while (missing := wanted - int(hidden.sum())) > 0:
        length = min(int(rng.geometric(1 / mean_length)), 10, missing)
        start = int(rng.choice(places))
        span = np.arange(start, min(start + length, len(allowed)))
        hidden[span[allowed[span]]] = True
    return hidden


@dataclass(frozen=True)
class AugmentedSplit:
    """A training split whose texts are changed differently in each epoch.

    How a row changes depends only on the seed, the epoch and the row, not on its batch or on the process that
    reads it. So a resumed run repeats the change.

    Attributes:
        split: the original rows.
        augmentation: the changes to make.
        seed: the run's seed.
        special_ids: ids of special tokens, which are never changed.
        mask_id: id of [MASK].
        sampled: the same rows, of whose long texts not all windows are trained at once; ``None``: all are.
    """

    split: TokenizedSplit
    augmentation: Any
    seed: int
    special_ids: Sequence[int]
    mask_id: int | None
    sampled: SampledWindows | None = None

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, batch: tuple[int, Sequence[int]]) -> TextBatch:
        """Return the rows of ``(epoch, rows)`` as a packed batch."""
        epoch, rows = batch
        windows = None if self.sampled is None else self.sampled.windows(epoch, rows)
        sequences, types = self.split.sequences(rows, windows)
        counts = self.split.num_windows[rows] if windows is None else map(len, windows)
        # one stream for all windows of a row
        rngs = (
            rng
            for row, count in zip(rows, counts, strict=True)
            for rng in [np.random.default_rng([self.seed, epoch, int(row)])] * int(count)
        )
        changed, changed_types = [], []
        for position, (rng, ids) in enumerate(zip(rngs, sequences, strict=True)):
            special = np.isin(ids, self.special_ids)
            segments = np.where(special, -1, _texts(special))
            new_ids, kept = self.augmentation(ids, segments, self.mask_id, rng)
            changed.append(new_ids)
            if types is not None:
                changed_types.append(types[position][kept])
        return self.split.packed(rows, changed, None if types is None else changed_types, windows)


def _texts(special: np.ndarray) -> np.ndarray:
    """Return the number of each token's text: a new text begins after every run of special tokens."""
    runs_begin = special & ~np.concatenate(([False], special[:-1]))
    return np.cumsum(runs_begin)
