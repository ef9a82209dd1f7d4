"""Prepared splits as Lightning's data loaders of packed batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import DataLoader

from bert_ft.data.augmentation import AugmentedSplit
from bert_ft.data.batching import NumberedBatches, RandomBatches, SortedBatches
from bert_ft.data.dataset import SampledWindows
from bert_ft.data.prepare import PreparedData
from bert_ft.data.tokenization import FastTokenizer
from bert_ft.training.resumable_data import ResumableDataModule


class TextDataModule(ResumableDataModule):
    """Data loaders over prepared data.

    Args:
        data: tokenized splits.
        batch_size: sequences in a training batch, on each device.
        eval_batch_size: most sequences in an evaluation batch.
        max_tokens: most tokens in an evaluation batch.
        seed: determines the training order.
        num_workers: processes that make batches; 0 = the training process does.
        augmented: the training split with augmented texts; ``None`` = no augmentation.
        sampled: the training split without some windows of its long texts; ``None`` = it has all.
        tokenizer: tokenizer of the ids, for callbacks that show tokens.
    """

    def __init__(
        self,
        data: PreparedData,
        *,
        batch_size: int,
        eval_batch_size: int,
        max_tokens: int,
        seed: int,
        num_workers: int = 0,
        augmented: AugmentedSplit | None = None,
        sampled: SampledWindows | None = None,
        tokenizer: FastTokenizer | None = None,
    ) -> None:
        super().__init__(seed=seed, num_workers=num_workers)
        self.data = data
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.max_tokens = max_tokens
        self.augmented = augmented
        self.sampled = sampled
        self.tokenizer = tokenizer

    def texts(self, split: str, rows: Sequence[int]) -> list[str]:
        """Return the original texts of these rows of a split; the texts of a pair are joined by `` | ``."""
        columns = [
            name for name in ("text", "text_pair") if name in self.data.splits[split].texts.column_names
        ]
        found = self.data.splits[split].texts.select(rows)
        return [" | ".join(str(row[name]) for name in columns) for row in found]

    def sources(self, split: str, rows: Sequence[int]) -> list[str]:
        """Return where each of these rows of a split was read: file name and row number, from 1."""
        found = self.data.splits[split]
        return [f"{Path(found.origin).name} {found.rows[row]}" for row in rows]

    def train_dataloader(self) -> DataLoader:
        split = self.data.splits["train"]
        num_replicas, rank = self.replicas()
        changing = self.augmented or self.sampled
        kind = RandomBatches if changing is None else NumberedBatches
        batches = kind(len(split), self.batch_size, self.seed, num_replicas=num_replicas, rank=rank)
        return self.training_loader(split if changing is None else changing, batches)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader("test")

    def _evaluation_loader(self, name: str) -> DataLoader:
        split = self.data.splits[name]
        num_replicas, rank = self.replicas()
        batches = SortedBatches(
            split.lengths, self.eval_batch_size, self.max_tokens, num_replicas=num_replicas, rank=rank
        )
        return self.evaluation_loader(split, batches)
