"""The texts of the pre-training stage as Lightning's data loaders."""

from __future__ import annotations

from torch.utils.data import DataLoader

from bert_ft.data.batching import FixedBatches, NumberedBatches
from bert_ft.data.pretraining_batches import PretrainingSplit
from bert_ft.training.resumable_data import ResumableDataModule


class PretrainingDataModule(ResumableDataModule):
    """Loaders over the stage's texts.

    Args:
        train: what is trained on, its masks new in each epoch.
        held_out: what the held-out loss is of, its masks and batches always the same.
        batch_size: texts in a batch, on each device; in the held-out ones too, for a contrastive loss is as high as its
            batch is large.
        seed: of the training order.
        num_workers: processes that cut batches; 0 = in the training process.
    """

    def __init__(
        self,
        train: PretrainingSplit,
        held_out: PretrainingSplit,
        *,
        batch_size: int,
        seed: int,
        num_workers: int = 0,
    ) -> None:
        super().__init__(seed=seed, num_workers=num_workers)
        self.train = train
        self.held_out = held_out
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        num_replicas, rank = self.replicas()
        batches = NumberedBatches(
            len(self.train), self.batch_size, self.seed, num_replicas=num_replicas, rank=rank
        )
        return self.training_loader(self.train, batches)

    def val_dataloader(self) -> DataLoader:
        num_replicas, rank = self.replicas()
        batches = FixedBatches(
            len(self.held_out), self.batch_size, self.seed, num_replicas=num_replicas, rank=rank
        )
        return self.evaluation_loader(self.held_out, batches)
