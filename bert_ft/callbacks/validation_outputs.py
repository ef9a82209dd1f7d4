"""What validation steps gave, put together: each row of the split once, in its order, on the first process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from bert_ft.callbacks.monitored import sources_of, task_of, texts_of
from bert_ft.compat.lightning import is_fitting
from bert_ft.errors import ConfigError
from bert_ft.tasks.confidence import JudgesConfidence

Arrays = dict[str, np.ndarray]


class ValidationMonitor(Callback, ABC):
    """A callback that looks at what a validation gave once it is over, and changes nothing.

    It goes with any module whose ``validation_step`` returns a mapping of tensors with a row for each text. ``rows``
    among them tells which rows of the split these are; without it they are counted as they come. Of several
    validation loaders the first is looked at. What is validated for its own sake, and the sanity check, are not.

    Args:
        max_rows: keep so many rows from all over the split, the same each time; ``None`` keeps all.

    Attributes:
        reads: what the mapping must have.
        rows_known: whether the last validation said which rows it had.
    """

    reads: ClassVar[tuple[str, ...]] = ("logits", "labels")

    def __init__(self, max_rows: int | None = None) -> None:
        self.rows_known = False
        self._max_rows = max_rows
        self._batches: list[dict[str, Tensor]] | None = None
        self._num_seen = 0

    @abstractmethod
    def look(self, trainer: Trainer, pl_module: LightningModule, seen: Arrays) -> None:
        """Report on ``reads`` and ``rows`` of the validation, each sorted by row, on the first process alone."""

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
            self._batches = [_spread_rows(_joined(self._batches), self._max_rows)]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches, self._batches = self._batches, None
        if batches is None:
            return
        everyones = [part for part in _gathered(trainer, _on_host(batches)) if part]
        if everyones and trainer.is_global_zero:
            self.look(trainer, pl_module, _in_order(everyones, self._max_rows))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._batches = None

    def _check(self, pl_module: LightningModule, outputs: Any) -> None:
        needed = ", ".join(f"`{name}`" for name in self.reads)
        step = f"{type(pl_module).__name__}.validation_step"
        if not isinstance(outputs, Mapping):
            raise ConfigError(
                f"monitor: {type(self).__name__} needs a mapping with {needed} from {step}, which returned "
                f"{type(outputs).__name__}; return one, or leave the monitor out"
            )
        missing = [f"`{name}`" for name in self.reads if name not in outputs]
        if missing:
            raise ConfigError(
                f"monitor: {type(self).__name__} needs {needed} from {step}, which returned no "
                f"{', '.join(missing)}; return them, or leave the monitor out"
            )
        shape = tuple(outputs["logits"].shape)
        if len(shape) != 2 or shape[1] < 2:
            raise ConfigError(
                f"monitor: {type(self).__name__} needs `logits` of shape (rows, classes), with two classes at "
                f"least, from {step}, which returned {shape}; return them, or leave the monitor out"
            )

    def _rows(self, trainer: Trainer, outputs: Mapping[str, Tensor]) -> Tensor:
        self.rows_known = "rows" in outputs
        if self.rows_known:
            return outputs["rows"].detach()
        labels = outputs["labels"]
        numbers = torch.arange(self._num_seen, self._num_seen + len(labels), device=labels.device)
        self._num_seen += len(labels)
        return (
            numbers * trainer.world_size + trainer.global_rank
        )  # as torch's DistributedSampler deals them out


def in_training(trainer: Trainer) -> bool:
    """Whether a validation belongs to training: not ``trainer.validate``, nor the sanity check before it."""
    return is_fitting(trainer) and not trainer.sanity_checking


def class_task(
    monitor: type[ValidationMonitor], pl_module: LightningModule, num_classes: int
) -> JudgesConfidence:
    """Return the module's task (``monitored.task_of``), which has classes.

    Raises:
        ConfigError: it has none that ``monitor`` could look at.
    """
    task = task_of(pl_module, num_classes)
    if not isinstance(task, JudgesConfidence):
        raise ConfigError(
            f"monitor: {monitor.__name__} looks at classes, and task={task.name} has none; leave the monitor out"
        )
    return task


def validation_texts(trainer: Trainer, rows: np.ndarray) -> list[Any] | None:
    """The texts of these rows of the validation split; ``None`` where the data module doesn't give them."""
    return texts_of(trainer, "validation", rows.tolist())


def validation_sources(trainer: Trainer, rows: np.ndarray) -> list[Any] | None:
    """Where these rows of the validation split come from, as a user would look for them; ``None`` likewise."""
    return sources_of(trainer, "validation", rows.tolist())


def _joined(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def _spread_rows(values: dict[str, Tensor], num_rows: int) -> dict[str, Tensor]:
    # sorted, not masked: how many rows a mask leaves is something that the host would have to wait for
    order = _rank(values["rows"]).argsort()[:num_rows]
    return {name: value[order] for name, value in values.items()}


def _rank(rows: Any) -> Any:
    """What decides which rows are kept: the lowest of any number of rows in sequence are spread evenly among these.

    The first rows alone would be of one class where a file is sorted by label. Knuth, TAOCP 3, 6.4: multiplicative hashing.
    """
    return (rows * 2654435769) % 2**32  # 2^32 divided by the golden ratio


def _on_host(batches: list[dict[str, Tensor]]) -> Arrays:
    if not batches:
        return {}
    values = {name: value.cpu() for name, value in _joined(batches).items()}
    return {
        name: (value.float() if value.is_floating_point() else value).numpy()  # numpy knows no bfloat16
        for name, value in values.items()
    }


def _gathered(trainer: Trainer, arrays: Arrays) -> list[Arrays]:
    """Those of all processes, of any number of rows."""
    if trainer.world_size == 1:
        return [arrays]
    everyones: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(everyones, arrays)
    return everyones


def _in_order(parts: list[Arrays], num_rows: int | None) -> Arrays:
    """Sorted by row; one that several processes had, as samplers do to be even, counts once."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows, order = np.unique(whole["rows"], return_index=True)
    if num_rows is not None:
        order = order[np.sort(_rank(rows.astype(np.int64)).argsort()[:num_rows])]
    return {name: value[order] for name, value in whole.items()}
