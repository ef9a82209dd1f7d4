"""Texts with masked tokens to predict, for masked-language-model training.

Source: Devlin et al. 2019, arXiv 1810.04805, section 3.1 and appendix A.1; whole words as in the authors' later
checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.packing import TextBatch, pack
from bert_ft.data.tokenization import FastTokenizer
from bert_ft.errors import ConfigError
from bert_ft.limits import BetweenZeroAndOne, Ratio, check_limits


@dataclass(frozen=True, kw_only=True)
class Masking:
    """Chooses the tokens to predict, and what replaces them.

    Attributes:
        mlm_probability: probability that a token is chosen; special tokens never are.
        mask_replace_prob: share of the chosen tokens that become [MASK].
        random_replace_prob: share of the chosen tokens that become a random token; the rest stay unchanged.
        whole_words: choose whole words, with all of their tokens, at the same probability.
        at_least_one: choose one token (or word) of a text that would have none, for small evaluation sets.
    """

    mlm_probability: BetweenZeroAndOne = 0.15
    mask_replace_prob: Ratio = 0.8
    random_replace_prob: Ratio = 0.1
    whole_words: bool = False
    at_least_one: bool = False

    def __post_init__(self) -> None:
        check_limits("pretrain.masking", self)
        if self.mask_replace_prob + self.random_replace_prob > 1 + 1e-9:
            raise ConfigError(
                f"pretrain.masking.mask_replace_prob={self.mask_replace_prob}: exceeds 1 together with "
                f"random_replace_prob={self.random_replace_prob}"
            )

    def __call__(
        self, ids: np.ndarray, vocabulary: MaskingVocabulary, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids with some replaced, and which were chosen, both ``(length,)``."""
        maskable = ~vocabulary.is_special[ids]
        if self.whole_words:
            begins = vocabulary.begins_word[ids] | ~maskable
            begins[1:] |= ~maskable[:-1]  # a token after a special token can't continue a word
            word = np.cumsum(begins) - 1 if begins[:1].all() else np.cumsum(begins)
            draws = rng.random(len(ids))[word]
        else:
            draws = rng.random(len(ids))
        chosen = maskable & (draws < self.mlm_probability)
        if self.at_least_one and not chosen.any() and maskable.any():
            chosen = maskable & (draws == draws[maskable].min())
        fate = rng.random(len(ids))
        replacements = rng.choice(vocabulary.ordinary_ids, size=len(ids))
        becomes = np.where(
            fate < self.mask_replace_prob,
            vocabulary.mask_id,
            np.where(fate < self.mask_replace_prob + self.random_replace_prob, replacements, ids),
        )
        return np.where(chosen, becomes, ids), chosen


@dataclass(frozen=True)
class MaskingVocabulary:
    """What masking needs to know about the vocabulary.

    Attributes:
        mask_id: id of [MASK].
        is_special: ``(vocab_size,)`` bool, whether a token is never masked.
        begins_word: ``(vocab_size,)`` bool, whether a token begins a word.
        ordinary_ids: ``(num_ordinary,)``, ids that may replace a token.
    """

    mask_id: int
    is_special: np.ndarray
    begins_word: np.ndarray
    ordinary_ids: np.ndarray

    @classmethod
    def of(cls, tokenizer: FastTokenizer) -> MaskingVocabulary:
        """Return the vocabulary of a tokenizer.

        Raises:
            ConfigError: it has no [MASK].
        """
        if tokenizer.mask_token_id is None:
            raise ConfigError("pretrain.mlm_weight: the encoder's tokenizer has no [MASK]; set it to 0")
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        is_special = np.zeros(len(tokens), dtype=bool)
        is_special[tokenizer.all_special_ids] = True
        begins_word = _begins_word(tokens, _continuing_mark(tokenizer))
        # a token of `data.tokenizer.added_tokens` has no mark; the space before a word is part of it
        added = tokenizer.added_tokens_decoder.items()
        begins_word[[id_ for id_, token in added if token.lstrip and not is_special[id_]]] = True
        return cls(
            mask_id=int(tokenizer.mask_token_id),
            is_special=is_special,
            begins_word=begins_word,
            ordinary_ids=np.flatnonzero(~is_special),
        )


def _continuing_mark(tokenizer: FastTokenizer) -> str | None:
    """Return the prefix of tokens that continue a word, if the tokenizer has one (WordPiece)."""
    # another kind may have the same characters as a token, e.g. Markdown's "###"
    return getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None) or None


def _begins_word(tokens: Sequence[str | None], continuing_mark: str | None) -> np.ndarray:
    """Return whether each token begins a word: by the prefix of continuations, else by ``Ġ`` and ``▁``."""
    known = [token or "" for token in tokens]
    if continuing_mark is not None:
        return np.array([not token.startswith(continuing_mark) for token in known])
    marks = ("Ġ", "▁")
    if any(token.startswith(marks) for token in known):
        return np.array([token.startswith(marks) for token in known])
    return np.ones(len(known), dtype=bool)  # every token is a word


@dataclass  # not frozen: see TextBatch
class MaskedBatch:
    """Texts, and the same texts with masked tokens to predict.

    Attributes:
        text: the original texts.
        masked: the same texts with the chosen tokens replaced.
        is_target: ``(num_tokens,)`` bool, whether a token was chosen.
    """

    text: TextBatch
    masked: TextBatch
    is_target: Tensor

    @property
    def targets(self) -> Tensor:
        """``(num_targets,)``, the original ids of the tokens to predict."""
        return self.text.input_ids[self.is_target]

    def __len__(self) -> int:
        return len(self.text)

    def split(self, max_tokens: int) -> list[MaskedBatch]:
        """See ``TextBatch.split``."""
        texts = self.text.split(max_tokens)
        are_targets = self.is_target.split([piece.num_tokens for piece in texts])
        return [
            MaskedBatch(*piece)
            for piece in zip(texts, self.masked.split(max_tokens), are_targets, strict=True)
        ]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MaskedBatch:
        """Return the same batch with its tensors on ``device``."""
        return replace(
            self,
            text=self.text.to(device, non_blocking),
            masked=self.masked.to(device, non_blocking),
            is_target=self.is_target.to(device, non_blocking=non_blocking),
        )


@dataclass(frozen=True)
class MaskedSplit:
    """A split whose texts are masked differently in each epoch.

    A row's mask depends only on the seed, the epoch and the row, not on its batch or on the process that
    reads it. So a resumed run repeats the mask.

    Attributes:
        split: the texts.
        masking: how tokens are chosen and replaced.
        vocabulary: the tokenizer's vocabulary.
        seed: the run's seed.
    """

    split: TokenizedSplit
    masking: Masking
    vocabulary: MaskingVocabulary
    seed: int

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, batch: tuple[int, Sequence[int]]) -> MaskedBatch:
        """Return the rows of ``(epoch, rows)``, masked."""
        epoch, rows = batch
        sequences, types = self.split.sequences(rows)
        masked, chosen = [], []
        for row, ids in zip(rows, sequences, strict=True):
            rng = np.random.default_rng([self.seed, epoch, int(row)])
            new_ids, is_chosen = self.masking(ids, self.vocabulary, rng)
            masked.append(new_ids)
            chosen.append(is_chosen)
        text = self.split[rows]
        # of equal lengths, so all three are packed in one order
        hidden = pack(masked, rows, token_type_ids=types)
        return MaskedBatch(text, hidden, pack(chosen, rows).input_ids.bool())
