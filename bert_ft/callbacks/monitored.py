"""What monitors may read of the module and the data module that they look at, and what holds where one lacks it.

The Protocols say it once; the functions are the only readers. Each attribute is optional by itself, so that monitors go
with any ``LightningModule`` and any loaders.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.tasks.task import Task
from bert_ft.training.clipping import ClippedGradients


class MonitoredModule(Protocol):
    """What a module that trains an encoder may tell monitors; our own modules tell all of it."""

    @property
    def max_tokens(self) -> int:
        """A padded batch with more tokens is computed in pieces. Without it: each batch is computed as a whole."""

    @property
    def batch_loss(self) -> Tensor | None:
        """Mean loss of the latest training batch, ``()``, before it is weighted for the accumulation.

        Without it: what Lightning kept of ``training_step``, times the batches of an accumulation window.
        """

    @property
    def clipped_gradients(self) -> ClippedGradients | None:
        """Norms of the latest optimizer step's gradients, before and after clipping; ``None`` if nobody needed them.

        Without it: a monitor computes the norms itself, before clipping.
        """

    @property
    def accumulated_share(self) -> float | Tensor:
        """Share of a full accumulation window's mean gradient that the batches so far make up; 1 after the last.

        Without it: the number of batches over ``accumulate_grad_batches``, by which Lightning divides.
        """

    @property
    def has_initial_weights(self) -> bool:
        """Whether the module was built with the weights that training began with, also when a run is resumed.

        Without it: it was.
        """


class JudgedModule(Protocol):
    """What a module may tell of the rows that it validates."""

    @property
    def task(self) -> Task:
        """What a label is. Without it: each row has one class, and ``classifier`` may have their names."""

    @property
    def classifier(self) -> Any:
        """The model, whose ``config`` has ``id2label``. Without it: classes are called by their numbers."""


class CachingModule(Protocol):
    """What a module may tell beyond that if a frozen part of its encoder can be computed once and kept."""

    @property
    def frozen_states(self) -> Any | None:
        """The cache of the frozen part's output; ``None`` runs that part every time. Without it: likewise."""


class PreparedSplits(Protocol):
    """Tokenized data."""

    @property
    def splits(self) -> Mapping[str, TokenizedSplit]:
        """Name → split; ``validation`` is looked at."""


class MonitoredData(Protocol):
    """What a data module may tell monitors of its texts."""

    @property
    def data(self) -> PreparedSplits:
        """The splits. Without it: texts are taken from the first validation batch."""

    @property
    def tokenizer(self) -> Any | None:
        """Turns ids into tokens. Without it: the module's own ``tokenizer``; without either tokens are shown as ids."""

    def texts(self, split: str, rows: Sequence[int]) -> list[str]:
        """Return the texts of these rows of a split. Without it: no texts are shown."""

    def sources(self, split: str, rows: Sequence[int]) -> list[str]:
        """Return where these rows of a split were read, as a user would look for them. Without it: row numbers alone."""


def max_tokens(module: LightningModule) -> int:
    """Return ``MonitoredModule.max_tokens``, by default without a limit."""
    limit: int = getattr(module, "max_tokens", sys.maxsize)
    return limit


def batch_loss(module: LightningModule) -> Tensor | None:
    """Return ``MonitoredModule.batch_loss``; ``None`` where the module has no such tensor."""
    own = getattr(module, "batch_loss", None)
    return own if isinstance(own, Tensor) else None


def tells_clipping(module: LightningModule) -> bool:
    """Return whether the module has ``MonitoredModule.clipped_gradients``, though they may be ``None`` at a step."""
    return hasattr(module, "clipped_gradients")


def clipped_gradients(module: LightningModule) -> ClippedGradients | None:
    """Return ``MonitoredModule.clipped_gradients``; ``None`` where the module doesn't tell them."""
    clipped: ClippedGradients | None = getattr(module, "clipped_gradients", None)
    return clipped


def accumulated_share(trainer: Trainer, module: LightningModule, num_batches: int) -> float | Tensor:
    """Return ``MonitoredModule.accumulated_share`` after ``num_batches`` of the window."""
    share: float | Tensor = getattr(
        module, "accumulated_share", num_batches / trainer.accumulate_grad_batches
    )
    return share


def has_initial_weights(module: LightningModule) -> bool:
    """Return ``MonitoredModule.has_initial_weights``, by default true."""
    known: bool = getattr(module, "has_initial_weights", True)
    return known


def task_of(module: LightningModule, num_classes: int) -> Task:
    """Return ``JudgedModule.task``; by default that of one class a row, its names those of ``JudgedModule.classifier``.

    Where that has no names for ``num_classes`` classes they are called by their numbers.
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
    """Return the validation split of ``MonitoredData.data``; ``None`` where other loaders are used."""
    splits: Mapping[str, TokenizedSplit] = getattr(getattr(_data_module(trainer), "data", None), "splits", {})
    return splits.get("validation")


def tokenizer_of(trainer: Trainer, module: LightningModule) -> Any | None:
    """Return the tokenizer of the data module, else that of the module; ``None`` where neither has one."""
    found = (getattr(owner, "tokenizer", None) for owner in (_data_module(trainer), module))
    return next((tokenizer for tokenizer in found if tokenizer is not None), None)


def texts_of(trainer: Trainer, split: str, rows: Sequence[int]) -> list[Any] | None:
    """Return what ``MonitoredData.texts`` gives; ``None`` where the data module hasn't it."""
    give = getattr(_data_module(trainer), "texts", None)
    return None if give is None else give(split, rows)


def sources_of(trainer: Trainer, split: str, rows: Sequence[int]) -> list[Any] | None:
    """Return what ``MonitoredData.sources`` gives; ``None`` where the data module hasn't it."""
    give = getattr(_data_module(trainer), "sources", None)
    return None if give is None else give(split, rows)


def _data_module(trainer: Trainer) -> Any:
    return trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it late
