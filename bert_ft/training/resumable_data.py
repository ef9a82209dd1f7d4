"""Data loaders of packed batches that continue where a checkpoint was taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from lightning.fabric.utilities.seed import pl_worker_init_function
from lightning.pytorch import LightningDataModule
from torch import Generator
from torch.utils.data import DataLoader, Dataset

from bert_ft.data.batching import RandomBatches
from bert_ft.signals import shield_worker
from bert_ft.training.dry_run import few
from bert_ft.training.resume import place_in_epoch


class ResumableDataModule(LightningDataModule):
    """Data loaders whose position in the epoch is saved in the checkpoint.

    Args:
        seed: determines the training order.
        num_workers: processes that make batches; 0 = the training process does.
    """

    def __init__(self, *, seed: int, num_workers: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.num_workers = num_workers
        self._resume_at: dict[str, int] | None = None

    def state_dict(self) -> dict[str, int]:
        """Return the position of training, see ``bert_ft.training.resume``."""
        assert self.trainer is not None
        return place_in_epoch(self.trainer)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._resume_at = state_dict

    def training_loader(self, split: Any, batches: RandomBatches) -> DataLoader:
        """Return a loader of training batches that starts at the position of a loaded checkpoint, if any."""
        if self._resume_at is not None:
            batches.load_state_dict(self._resume_at)
        self._resume_at = None
        return self.loader(split, batches)

    def evaluation_loader(self, split: Any, batches: Iterable[Any]) -> DataLoader:
        """Return a loader of whole batches; in the dry run before training, of a few rows of each."""
        return self.loader(split, _FewInDryRun(batches, self._is_dry_run))

    def _is_dry_run(self) -> bool:
        return self.trainer is not None and self.trainer.sanity_checking

    def loader(self, split: Any, batches: Iterable[Any]) -> DataLoader:
        """Return a loader of ``split[batch]`` for each of ``batches``."""
        # As `sampler`, not `batch_sampler`, since Lightning calls its set_epoch. With its own generator the loader doesn't
        # draw from the run's random numbers.
        return DataLoader(
            cast(Dataset, split),  # torch uses only its length and items
            sampler=batches,
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=_begin_worker,
            generator=Generator().manual_seed(self.seed),
        )

    def replicas(self) -> tuple[int, int]:
        """Return the number of training processes, and the rank of this one."""
        if self.trainer is None:
            return 1, 0
        return self.trainer.world_size, self.trainer.global_rank


class _FewInDryRun:
    """The batches of a sampler, cut to a few rows while ``is_dry_run()`` is true."""

    def __init__(self, batches: Any, is_dry_run: Callable[[], bool]) -> None:
        self._batches = batches
        self._is_dry_run = is_dry_run

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            yield few(batch) if self._is_dry_run() else batch


def _begin_worker(worker: int) -> None:
    shield_worker()
    pl_worker_init_function(worker)  # Lightning adds it to loaders that have none
