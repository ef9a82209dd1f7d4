"""Lightning's data loaders of packed batches, which go on where a checkpoint was taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from lightning.fabric.utilities.seed import pl_worker_init_function
from lightning.pytorch import LightningDataModule
from torch import Generator
from torch.utils.data import DataLoader, Dataset

from bert_ft.data.batching import RandomBatches
from bert_ft.signals import shield_worker
from bert_ft.training.resume import place_in_epoch


class ResumableDataModule(LightningDataModule):
    """Loaders whose place in the epoch travels with the checkpoint.

    Args:
        seed: of the training order.
        num_workers: processes that cut batches; 0 = in the training process.
    """

    def __init__(self, *, seed: int, num_workers: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.num_workers = num_workers
        self._resume_at: dict[str, int] | None = None

    def state_dict(self) -> dict[str, int]:
        """Where training stands, see ``bert_ft.training.resume``."""
        assert self.trainer is not None
        return place_in_epoch(self.trainer)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._resume_at = state_dict

    def training_loader(self, split: Any, batches: RandomBatches) -> DataLoader:
        """A loader of training batches, at the place of the checkpoint that was loaded, if any."""
        if self._resume_at is not None:
            batches.load_state_dict(self._resume_at)
        self._resume_at = None
        return self.loader(split, batches)

    def loader(self, split: Any, batches: Iterable[Any]) -> DataLoader:
        """A loader of what ``split`` has for each of ``batches``."""
        # As `sampler`, not `batch_sampler`: that is where Lightning looks for set_epoch. A generator of
        # its own keeps the loader from drawing on the run's random numbers.
        return DataLoader(
            cast(Dataset, split),  # torch asks for no more than its length and items
            sampler=batches,
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=_begin_worker,
            generator=Generator().manual_seed(self.seed),
        )

    def replicas(self) -> tuple[int, int]:
        """How many processes train, and which of them this is."""
        if self.trainer is None:
            return 1, 0
        return self.trainer.world_size, self.trainer.global_rank


def _begin_worker(worker: int) -> None:
    shield_worker()
    pl_worker_init_function(worker)  # Lightning adds it to loaders that have none
