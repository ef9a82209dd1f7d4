"""The texts of the pre-training stage as Lightning's data loaders."""

from __future__ import annotations

from torch.utils.data import DataLoader

from bert_ft.data.batching import FixedBatches, NumberedBatches
from bert_ft.data.pretraining_batches import PretrainingSplit
from bert_ft.training.resumable_data import ResumableDataModule


class PretrainingDataModule(ResumableDataModule):
    """Data loaders over the stage's texts.

    Args:
        train: texts to train on, with new masks in each epoch.
        held_out: texts of the held-out loss, with the same masks and batches each time.
        batch_size: texts in a batch, on each device; also of held-out texts, since a contrastive loss depends on the size of
            the batch.
        seed: determines the training order.
        num_workers: processes that make batches; 0 = the training process does.
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
