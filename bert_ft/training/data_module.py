"""Prepared splits as Lightning's data loaders of packed batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from lightning.pytorch import LightningDataModule
from torch import Generator
from torch.utils.data import DataLoader, Dataset

from bert_ft.data.augmentation import AugmentedSplit
from bert_ft.data.batching import NumberedBatches, RandomBatches, SortedBatches
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.prepare import PreparedData
from bert_ft.data.tokenization import FastTokenizer


class TextDataModule(LightningDataModule):
    """Loaders over prepared data.

    Args:
        data: tokenized splits.
        batch_size: sequences in a training batch, on each device.
        eval_batch_size: most sequences in an evaluation batch.
        max_tokens: most tokens in an evaluation batch.
        seed: of the training order.
        num_workers: processes that cut batches; 0 = in the training process.
        augmented: the training split with its texts changed; ``None`` trains on them as they are.
        tokenizer: whose ids they are, for callbacks that show tokens.
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
        tokenizer: FastTokenizer | None = None,
    ) -> None:
        super().__init__()
        self.data = data
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.max_tokens = max_tokens
        self.seed = seed
        self.num_workers = num_workers
        self.augmented = augmented
        self.tokenizer = tokenizer
        self._resume_at: dict[str, int] | None = None

    def texts(self, split: str, rows: Sequence[int]) -> list[str]:
        """The texts of these rows of a split as they were read, those of a pair joined by `` | ``."""
        columns = [
            name for name in ("text", "text_pair") if name in self.data.splits[split].texts.column_names
        ]
        found = self.data.splits[split].texts.select(rows)
        return [" | ".join(str(row[name]) for name in columns) for row in found]

    def sources(self, split: str, rows: Sequence[int]) -> list[str]:
        """Where each of these rows of a split was read: the file's name and the number of its row, from 1."""
        found = self.data.splits[split]
        return [f"{Path(found.origin).name} {found.rows[row]}" for row in rows]

    def state_dict(self) -> dict[str, int]:
        """Where training stands: the epoch, and how many of its batches were trained on."""
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return {"epoch": self.trainer.current_epoch, "position": progress.current.ready}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._resume_at = state_dict

    def train_dataloader(self) -> DataLoader:
        split = self.data.splits["train"]
        num_replicas, rank = self._replicas()
        kind = RandomBatches if self.augmented is None else NumberedBatches
        batches = kind(len(split), self.batch_size, self.seed, num_replicas=num_replicas, rank=rank)
        if self._resume_at is not None and self._resume_at["position"] < len(batches):
            batches.load_state_dict(self._resume_at)
        self._resume_at = None
        return self._loader(split if self.augmented is None else self.augmented, batches)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader("test")

    def _evaluation_loader(self, name: str) -> DataLoader:
        split = self.data.splits[name]
        num_replicas, rank = self._replicas()
        batches = SortedBatches(
            split.lengths, self.eval_batch_size, self.max_tokens, num_replicas=num_replicas, rank=rank
        )
        return self._loader(split, batches)

    def _loader(
        self, split: TokenizedSplit | AugmentedSplit, batches: RandomBatches | SortedBatches
    ) -> DataLoader:
        # As `sampler`, not `batch_sampler`: that is where Lightning looks for set_epoch. A generator of
        # its own keeps the loader from drawing on the run's random numbers.
        return DataLoader(
            cast(Dataset, split),  # torch asks for no more than its length and items
            sampler=batches,
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            generator=Generator().manual_seed(self.seed),
        )

    def _replicas(self) -> tuple[int, int]:
        """How many processes train, and which of them this is."""
        if self.trainer is None:
            return 1, 0
        return self.trainer.world_size, self.trainer.global_rank
