"""Attributes that monitors read from a module and a data module, and their defaults.

The Protocols declare them; the functions are their only readers. Each attribute is optional by itself, so
that monitors work with any ``LightningModule`` and any loaders.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.tasks.task import Task
from bert_ft.training.clipping import ClippedGradients


class MonitoredModule(Protocol):
    """Optional attributes of a module that trains an encoder; our own modules have all of them."""

    @property
    def max_tokens(self) -> int:
        """Number of tokens above which a padded batch is computed in pieces. Without it: no limit."""

    @property
    def batch_loss(self) -> Tensor | None:
        """Mean loss of the latest training batch, ``()``, before it is weighted for the accumulation.

        Without it: the loss that Lightning kept of ``training_step``, times the batches of an accumulation window.
        """

    @property
    def clipped_gradients(self) -> ClippedGradients | None:
        """Gradient norms of the latest step, before and after clipping; ``None`` if they weren't needed.

        Without it: a monitor computes the norms itself, before clipping.
        """

    @property
    def accumulated_share(self) -> float | Tensor:
        """Share of a full accumulation window's mean gradient that the batches so far make up; 1 after the last.

        Without it: the number of batches over ``accumulate_grad_batches``, by which Lightning divides.
        """

    @property
    def has_initial_weights(self) -> bool:
        """Whether the module is built with the weights at which training starts (for a resumed run: started).

        Without it: true.
        """


class JudgedModule(Protocol):
    """Optional attributes that describe the rows a module validates."""

    @property
    def task(self) -> Task:
        """The task. Without it: a task of one class per row; ``classifier`` may have the class names."""

    @property
    def classifier(self) -> Any:
        """The model, whose ``config`` has ``id2label``. Without it: the classes' names are their numbers."""


class CachingModule(Protocol):
    """Optional attribute of a module that caches the output of frozen layers."""

    @property
    def frozen_states(self) -> Any | None:
        """Cache of the frozen part's output; ``None``: that part runs every time. Without it: the same."""


class AveragedModule(Protocol):
    """Optional attribute of a module whose weights are averaged during training."""

    @property
    def averaging(self) -> Any | None:
        """What averages them, with ``num_averaged``; ``None``: nothing does. Without it: the same."""


class PreparedSplits(Protocol):
    """Tokenized data."""

    @property
    def splits(self) -> Mapping[str, TokenizedSplit]:
        """Name → split; monitors look at ``validation``."""


class MonitoredData(Protocol):
    """Optional attributes of a data module that describe its texts."""

    @property
    def data(self) -> PreparedSplits:
        """The splits. Without it: texts are taken from the first validation batch."""

    @property
    def tokenizer(self) -> Any | None:
        """Tokenizer. Without it: the module's own ``tokenizer``; without either, tokens are shown as ids."""

    def texts(self, split: str, rows: Sequence[int]) -> list[str]:
        """Return the texts of these rows of a split. Without it: no texts are shown."""

    def sources(self, split: str, rows: Sequence[int]) -> list[str]:
        """Return where a user finds these rows of a split. Without it: row numbers are shown."""


def waits_for_average(module: LightningModule) -> bool:
    """Return whether ``AveragedModule.averaging`` hasn't averaged a step yet."""
    averaging = getattr(module, "averaging", None)
    return averaging is not None and not averaging.num_averaged


def max_tokens(module: LightningModule) -> int:
    """Return ``MonitoredModule.max_tokens``."""
    return getattr(module, "max_tokens", sys.maxsize)


def batch_loss(module: LightningModule) -> Tensor | None:
    """Return ``MonitoredModule.batch_loss``; ``None`` if the module has no such tensor."""
    own = getattr(module, "batch_loss", None)
    return own if isinstance(own, Tensor) else None


def tells_clipping(module: LightningModule) -> bool:
    """Return whether the module has ``MonitoredModule.clipped_gradients``, even if they are ``None`` at a step."""
    return hasattr(module, "clipped_gradients")


def clipped_gradients(module: LightningModule) -> ClippedGradients | None:
    """Return ``MonitoredModule.clipped_gradients``, by default ``None``."""
    return getattr(module, "clipped_gradients", None)


def accumulated_share(trainer: Trainer, module: LightningModule, num_batches: int) -> float | Tensor:
    """Return ``MonitoredModule.accumulated_share`` after ``num_batches`` of the window."""
    return getattr(module, "accumulated_share", num_batches / trainer.accumulate_grad_batches)


def has_initial_weights(module: LightningModule) -> bool:
    """Return ``MonitoredModule.has_initial_weights``."""
    return getattr(module, "has_initial_weights", True)


def task_of(module: LightningModule, num_classes: int) -> Task:
    """Return ``JudgedModule.task``, by default a task of one class per row.

    The default task takes its names from ``JudgedModule.classifier``; if that doesn't have ``num_classes``
    names, they are the classes' numbers.
    """
    own: Task | None = getattr(module, "task", None)
    if own is not None:
        return own
    config = getattr(getattr(module, "classifier", None), "config", None)
    names = getattr(config, "id2label", None) or {}
    if set(names) != set(range(num_classes)):
        names = dict(enumerate(range(num_classes)))
    return SingleLabel(tuple(str(names[number]) for number in range(num_classes)))


def caches_frozen_states(module: LightningModule) -> bool:
    """Return whether ``CachingModule.frozen_states`` keeps the frozen part's output."""
    return getattr(module, "frozen_states", None) is not None


def validation_split(trainer: Trainer) -> TokenizedSplit | None:
    """Return the validation split of ``MonitoredData.data``; ``None`` with other loaders."""
    splits: Mapping[str, TokenizedSplit] = getattr(getattr(_data_module(trainer), "data", None), "splits", {})
    return splits.get("validation")


def tokenizer_of(trainer: Trainer, module: LightningModule) -> Any | None:
    """Return the tokenizer of the data module, or else of the module; ``None`` if neither has one."""
    found = (getattr(owner, "tokenizer", None) for owner in (_data_module(trainer), module))
    return next((tokenizer for tokenizer in found if tokenizer is not None), None)


def validation_texts(trainer: Trainer, rows: np.ndarray) -> list[Any] | None:
    """Return ``MonitoredData.texts`` of rows of the validation split, by default ``None``."""
    give = getattr(_data_module(trainer), "texts", None)
    return None if give is None else give("validation", rows.tolist())


def validation_sources(trainer: Trainer, rows: np.ndarray) -> list[Any] | None:
    """Return ``MonitoredData.sources`` of rows of the validation split, by default ``None``."""
    give = getattr(_data_module(trainer), "sources", None)
    return None if give is None else give("validation", rows.tolist())


def _data_module(trainer: Trainer) -> Any:
    return trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it late
