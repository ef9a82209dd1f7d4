"""Outputs of validation steps, joined: each row of the split once, in its order, on the first process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from bert_ft import layout
from bert_ft.callbacks.monitored import task_of
from bert_ft.compat.lightning import is_fitting
from bert_ft.errors import ConfigError
from bert_ft.tasks.confidence import JudgesConfidence, JudgesRows
from bert_ft.tasks.task import Task
from bert_ft.training.collected_outputs import Arrays, everyones, in_order, joined_batches, on_host
from bert_ft.training.monitor_files import drop_later


class ValidationMonitor(Callback, ABC):
    """A callback that looks at the outputs of each validation during training, and changes nothing.

    It works with any module whose ``validation_step`` returns a mapping of tensors with one row for each text. Their
    ``rows`` are the numbers of these rows in the split; without ``rows`` they are counted as they come. It ignores
    all but the first validation loader, and validations outside of training, such as the sanity check.

    Args:
        folder: folder of its files; ``None``: ``monitor`` in the trainer's ``default_root_dir``.
        max_rows: keep this many rows from all over the split, the same each time; ``None`` = all.

    Attributes:
        reads: keys that the mapping must have.
        kinds: kinds of files in ``folder`` (see ``layout.monitor_file``).
        rows_known: whether the last validation returned ``rows``.
    """

    reads: ClassVar[tuple[str, ...]] = ("logits", "labels")
    kinds: ClassVar[tuple[str, ...]] = ()

    def __init__(self, folder: Path | str | None = None, max_rows: int | None = None) -> None:
        self.folder = Path(folder or layout.MONITOR_FOLDER)
        self._has_folder = folder is not None
        self.rows_known = False
        self._max_rows = max_rows
        self._batches: list[dict[str, Tensor]] | None = None
        self._num_seen = 0

    @abstractmethod
    def look(self, trainer: Trainer, pl_module: LightningModule, seen: Arrays) -> None:
        """Report on ``reads`` and ``rows`` of the validation, sorted by row; called on the first process only."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not self._has_folder:
            self.folder = Path(trainer.default_root_dir, layout.MONITOR_FOLDER)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            for kind in self.kinds:
                drop_later(self.folder, kind, trainer.global_step)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches = [] if in_training(trainer) else None
        self._num_seen = 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._batches is None or dataloader_idx:
            return
        self._check(pl_module, outputs)
        values = {name: outputs[name].detach() for name in self.reads}
        values["rows"] = self._rows(trainer, outputs)
        self._batches.append(values)
        if self._max_rows is not None:
            joined = joined_batches(self._batches)
            # sorted, not masked: the host would have to wait for the number of rows that a mask leaves
            order = _rank(joined["rows"]).argsort()[: self._max_rows]
            self._batches = [{name: value[order] for name, value in joined.items()}]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches, self._batches = self._batches, None
        if batches is None:
            return
        parts = [part for part in everyones(trainer, on_host(batches)) if part]
        if parts and trainer.is_global_zero:
            seen = _spread(in_order(parts), self._max_rows)
            self.look(trainer, pl_module, _with_class(task_of(pl_module, seen["logits"].shape[1]), seen))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._batches = None

    def _check(self, pl_module: LightningModule, outputs: Any) -> None:
        needed = f"monitor: {type(self).__name__} needs "
        names = ", ".join(f"`{name}`" for name in self.reads)
        step = f"from {type(pl_module).__name__}.validation_step, which returned "
        if not isinstance(outputs, Mapping):
            found = type(outputs).__name__
            raise ConfigError(
                f"{needed}a mapping with {names} {step}{found}; return one, or remove the monitor"
            )
        missing = ", ".join(f"`{name}`" for name in self.reads if name not in outputs)
        if missing:
            raise ConfigError(f"{needed}{names} {step}no {missing}; return them, or remove the monitor")
        shape = tuple(outputs["logits"].shape)
        least = 2 if task_of(pl_module, 2).target_kind == "classes" else 1
        if len(shape) != 2 or shape[1] < least:
            raise ConfigError(
                f"{needed}`logits` of shape (rows, classes) with at least two classes {step}{shape}; return them, or "
                "remove the monitor"
            )

    def task(self, pl_module: LightningModule, seen: Arrays) -> JudgesRows:
        """Return the module's task, or raise a ``ConfigError`` if it doesn't judge rows."""
        task = task_of(pl_module, seen["logits"].shape[1])
        if not isinstance(task, JudgesRows):
            raise ConfigError(
                f"monitor: {type(self).__name__} looks at each row's loss, which task={task.name} doesn't have; remove the "
                "monitor"
            )
        return task

    def class_task(self, pl_module: LightningModule, seen: Arrays) -> JudgesConfidence:
        """Return the module's task (``monitored.task_of``), or raise a ``ConfigError`` if it has no classes."""
        task = task_of(pl_module, seen["logits"].shape[1])
        if not isinstance(task, JudgesConfidence):
            raise ConfigError(
                f"monitor: {type(self).__name__} looks at classes, but task={task.name} has none; remove the monitor"
            )
        return task

    def _rows(self, trainer: Trainer, outputs: Mapping[str, Tensor]) -> Tensor:
        self.rows_known = "rows" in outputs
        if self.rows_known:
            return outputs["rows"].detach()
        labels = outputs["labels"]
        numbers = torch.arange(self._num_seen, self._num_seen + len(labels), device=labels.device)
        self._num_seen += len(labels)
        return numbers * trainer.world_size + trainer.global_rank  # the order of torch's DistributedSampler


def _with_class(task: Task, seen: Arrays) -> Arrays:
    """Return the rows with what monitors compare predictions with as ``labels``; see ``Task.majority_targets``."""
    labels = task.majority_targets(seen["labels"])
    if labels is seen["labels"]:
        return seen
    seen = {**seen, "labels": labels}
    return {name: values[labels >= 0] for name, values in seen.items()}


def in_training(trainer: Trainer) -> bool:
    """Return whether a validation belongs to training: neither ``trainer.validate`` nor the sanity check."""
    return is_fitting(trainer) and not trainer.sanity_checking


def _rank(rows: Any) -> Any:
    """Return each row's rank: the rows of the lowest ranks, which are kept, are spread evenly over the split.

    The first rows would be of one class in a file sorted by label. Knuth, TAOCP 3, 6.4: multiplicative hashing.
    """
    return (rows * 2654435769) % 2**32  # 2^32 divided by the golden ratio


def _spread(seen: Arrays, num_rows: int | None) -> Arrays:
    """Return ``num_rows`` rows from all over the split, sorted; ``None`` = all."""
    if num_rows is None:
        return seen
    order = np.sort(_rank(seen["rows"].astype(np.int64)).argsort()[:num_rows])
    return {name: value[order] for name, value in seen.items()}
