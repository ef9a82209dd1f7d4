"""Batches of texts for the pre-training stage: unchanged, masked, and with keys that identify copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.masking import MaskedBatch, MaskedSplit
from bert_ft.data.packing import TextBatch


@dataclass  # not frozen: see TextBatch
class PretrainingBatch:
    """The texts of one step.

    Attributes:
        text: the unchanged texts.
        text_keys: ``(num_sequences,)`` int64, equal for texts with the same ids.
        masked: the same texts with masked tokens to predict; ``None`` without masking.
    """

    text: TextBatch
    text_keys: Tensor
    masked: MaskedBatch | None = None

    def __len__(self) -> int:
        return len(self.text)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PretrainingBatch:
        """Return the same batch with its tensors on ``device``."""
        return replace(
            self,
            text=self.text.to(device, non_blocking),
            text_keys=self.text_keys.to(device, non_blocking=non_blocking),
            masked=None if self.masked is None else self.masked.to(device, non_blocking),
        )


@dataclass(frozen=True)
class PretrainingSplit:
    """A split that yields batches for the pre-training stage.

    Attributes:
        split: the texts.
        masked: the same texts with masks; ``None`` without masking.
    """

    split: TokenizedSplit
    masked: MaskedSplit | None = None

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, batch: tuple[int, Sequence[int]]) -> PretrainingBatch:
        """Return the batch of ``(epoch, rows)``."""
        masked = None if self.masked is None else self.masked[batch]
        text = self.split[batch[1]] if masked is None else masked.text
        return PretrainingBatch(text, text_keys(text), masked)


def text_keys(batch: TextBatch) -> Tensor:
    """Return ``(num_sequences,)`` int64, a hash of each text's ids.

    The ids are hashed, not the text: texts that differ only in what the tokenizer drops, or after the length
    limit, are the same to the encoder.
    """
    sequences = np.split(batch.input_ids.numpy(), np.cumsum(batch.lengths)[:-1])
    keys = [
        int.from_bytes(blake2b(ids.tobytes(), digest_size=8).digest(), "little", signed=True)
        for ids in sequences[: len(batch)]  # np.split gives an empty batch one empty part
    ]
    return torch.tensor(keys, dtype=torch.int64)
