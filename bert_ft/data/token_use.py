"""How well a tokenizer knows the words of a split: the share of unknown tokens, and the tokens per word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bert_ft.data.dataset import USED_TOKENS_ROWS, TokenizedSplit
from bert_ft.data.texts import iterate_texts
from bert_ft.data.tokenization import FastTokenizer

MOST_UNKNOWN = 0.05  # share of unknown tokens above which a report warns
# English has about 1.3 with its own encoder, German 1.8 with a multilingual one; Russian has 6 with an English one.
MOST_TOKENS_PER_WORD = 3.0
_COUNTED_ROWS = 1_000  # whose words are counted, evenly spread over a split
# In scripts without spaces between words (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese) each character counts.
_WORD = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\W_]+"
)
OTHER_ENCODER = "encoder=any encoder.name_or_path=google-bert/bert-base-multilingual-cased"


@dataclass(frozen=True)
class TokenUse:
    """Token statistics of one split.

    Attributes:
        unknown_ratio: share of unknown tokens, not counting special tokens.
        tokens_per_word: mean number of tokens per word; 0 for texts without words.
    """

    unknown_ratio: float
    tokens_per_word: float

    @classmethod
    def of(cls, split: TokenizedSplit, tokenizer: FastTokenizer) -> TokenUse:
        """Return the statistics of a split that was tokenized by ``tokenizer``."""
        special = tokenizer.num_special_tokens_to_add(pair="text_pair" in split.texts.column_names)
        num_tokens = int(split.lengths.sum()) - special * int(split.num_windows.sum())
        unknown = _count(split, tokenizer.unk_token_id)
        return cls(unknown / max(num_tokens, 1), _tokens_per_word(split, special))

    def warnings(self, is_counted: bool = True) -> Iterator[str]:
        """Yield reasons to use a different encoder, each as the end of a sentence about the split."""
        if self.unknown_ratio > MOST_UNKNOWN:
            yield (
                f"{self.unknown_ratio:.0%} of the tokens are unknown to the encoder's vocabulary; use an "
                f"encoder for the texts' language: {OTHER_ENCODER}"
            )
        elif is_counted and self.tokens_per_word > MOST_TOKENS_PER_WORD:
            yield (
                f"{self.tokens_per_word:.1f} tokens per word: the encoder's vocabulary doesn't suit these "
                f"texts; use an encoder for their language: {OTHER_ENCODER}"
            )


def _count(split: TokenizedSplit, token: int | None) -> int:
    if token is None:
        return 0
    found = 0
    for first in range(0, len(split), USED_TOKENS_ROWS):
        ids, _ = split.sequences(range(first, min(first + USED_TOKENS_ROWS, len(split))))
        found += int((np.concatenate(ids) == token).sum())
    return found


def _tokens_per_word(split: TokenizedSplit, special: int) -> float:
    rows = np.unique(np.linspace(0, len(split) - 1, min(len(split), _COUNTED_ROWS)).astype(np.int64))
    full_lengths = split.full_lengths[rows]
    words = sum(
        len(_WORD.findall(text))
        for columns in iterate_texts(split.texts.select(rows))
        for texts in columns
        for text in texts
    )
    return float(full_lengths.sum() - special * len(rows)) / words if words else 0.0
