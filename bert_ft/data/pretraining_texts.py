"""Choose the texts of the pre-training stage, and hold some out to evaluate it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from datasets import Dataset, concatenate_datasets

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.pieces import in_pieces
from bert_ft.data.texts import TextKeys, text_columns
from bert_ft.data.tokenization import FastTokenizer, tokenize
from bert_ft.errors import DataError

LEAST_HELD_OUT = (
    2  # different texts, if there are as many: a contrastive loss needs another text to compare with
)


@dataclass(frozen=True)
class PretrainingTexts:
    """The texts of the pre-training stage.

    Attributes:
        train: the texts to train on.
        held_out: the texts of the held-out loss; validation and test texts are not among them.
        origin: where they came from.
        num_left_out: number of texts left out because they are also validation or test texts.
        includes_evaluation_texts: whether validation and test texts are included.
    """

    train: TokenizedSplit
    held_out: TokenizedSplit
    origin: str
    num_left_out: int
    includes_evaluation_texts: bool

    @property
    def num_in_pieces(self) -> int:
        """Number of texts that are too long and were cut into several rows."""
        rows = np.concatenate([self.train.rows, self.held_out.rows])
        return int((np.unique(rows, return_counts=True)[1] > 1).sum())

    @property
    def lost_ratio(self) -> float:
        """Share of all tokens that is cut away."""
        lost = sum(int(split.num_truncated.sum()) for split in (self.train, self.held_out))
        kept = sum(int(split.lengths.sum()) for split in (self.train, self.held_out))
        return lost / max(lost + kept, 1)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for the record of a run."""
        return {
            "origin": self.origin,
            "train": len(self.train),
            "held_out": len(self.held_out),
            "left_out": self.num_left_out,
            "lost_ratio": self.lost_ratio,
            "include_evaluation_texts": self.includes_evaluation_texts,
        }


def pretraining_texts(
    source: TokenizedSplit,
    evaluation: Sequence[TokenizedSplit],
    *,
    held_out_ratio: float,
    seed: int,
    max_length: int,
    tokenizer: FastTokenizer,
    include_evaluation_texts: bool = False,
    compares: bool = False,
    cut_into_pieces: bool = False,
    cache_dir: Path | str | None = None,
) -> PretrainingTexts:
    """Return the texts of ``source`` without copies of evaluation texts, some of them held out.

    Copies are texts that differ only in case, white space or Unicode form; copies are held out together.

    Args:
        source: training texts, or unlabeled ones.
        evaluation: validation and test rows.
        held_out_ratio: share of the texts that is held out; at least ``LEAST_HELD_OUT`` texts are.
        seed: decides which texts are held out.
        max_length: maximum number of tokens in a row.
        tokenizer: the encoder's.
        include_evaluation_texts: include the texts of ``evaluation``, without their labels.
        compares: texts will be compared with each other, so both parts need two different ones.
        cut_into_pieces: turn texts and pairs that are too long into several rows, so that no token is lost.
        cache_dir: see ``arrow_cache.cache_folder``.

    Raises:
        DataError: fewer than two different texts are left, or with ``compares`` fewer than four.
    """
    num_left_out = 0
    if include_evaluation_texts:
        texts = concatenate_datasets(
            [split.texts.select_columns(text_columns(source.texts)) for split in (source, *evaluation)]
        )
        columns = tokenize(texts, tokenizer, max_length, cache_dir)
        source = TokenizedSplit.from_columns(f"{source.origin} and the evaluation texts", columns, texts)
    elif evaluation:
        is_copy = np.isin(TextKeys.of(source.texts).near, _forbidden(source.texts, evaluation))
        num_left_out = int(is_copy.sum())
        if num_left_out:
            source = source.select(np.flatnonzero(~is_copy))
    if cut_into_pieces and (source.full_lengths > max_length).any():
        source = in_pieces(source, tokenizer, max_length, cache_dir)
    elif source.columns.row_offsets is not None:  # windows, which have tokens in common
        columns = tokenize(source.texts, tokenizer, max_length, cache_dir)
        source = replace(source, columns=columns, index=np.arange(len(source)))
    keys = TextKeys.of(source.texts).near
    num_different = len(np.unique(keys))
    if num_different < (4 if compares else 2):
        left_out = f", after {num_left_out} copies of validation and test texts" if num_left_out else ""
        needs = "at least two different texts (one is held out)"
        if compares:
            needs = "at least four different texts (two are held out) when it compares texts with each other"
        raise DataError(
            f"{source.origin}: pre-training needs {needs}; there {'is' if num_different == 1 else 'are'} "
            f"{num_different}{left_out}"
        )
    held_out = _held_out(keys, held_out_ratio, seed, num_kept=2 if compares else 1)
    return PretrainingTexts(
        train=source.select(np.flatnonzero(~held_out), "train"),
        held_out=source.select(np.flatnonzero(held_out), "held_out"),
        origin=source.origin,
        num_left_out=num_left_out,
        includes_evaluation_texts=include_evaluation_texts,
    )


def _forbidden(texts: Dataset, evaluation: Sequence[TokenizedSplit]) -> np.ndarray:
    """Return the keys of the rows of ``evaluation`` and, if ``texts`` aren't pairs, of each text in its pairs."""
    keys = [np.empty(0, dtype=np.uint64)]
    for split in evaluation:
        keys.append(TextKeys.of(split.texts).near)
        if len(text_columns(texts)) == 1 and len(text_columns(split.texts)) == 2:
            for name in text_columns(split.texts):
                single = split.texts.select_columns(name).rename_columns({name: "text"})
                keys.append(TextKeys.of(single).near)
    return np.concatenate(keys)


def _held_out(keys: np.ndarray, ratio: float, seed: int, num_kept: int) -> np.ndarray:
    """Return ``(num_rows,)`` bool; rows of one key stay together, and ``num_kept`` keys or more aren't held out."""
    unique, group_of = np.unique(keys, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(unique))
    sizes = np.bincount(group_of)[order]
    # as many groups as reach the wanted number
    num_groups = int(np.searchsorted(np.cumsum(sizes), round(ratio * len(keys)))) + 1
    num_groups = min(max(num_groups, LEAST_HELD_OUT), len(unique) - num_kept)
    return np.isin(group_of, order[:num_groups])
