"""What rules of advice read from a run, and what they return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_ft import layout
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.scalars import Series

MAX_NAMES = 3  # classes named in a sentence


@dataclass(frozen=True)
class Advice:
    """A finding.

    Attributes:
        sentence: the evidence, and the key that changes it.
        keys: that key, and others that the sentence names.
    """

    sentence: str
    keys: tuple[str, ...]


class ClassCounts(NamedTuple):
    """Validation rows of each class by the kept weights, ``(classes,)`` each: found, of the class, predicted as it."""

    names: list[str]
    right: NDArray[np.int64]
    support: NDArray[np.int64]
    predicted: NDArray[np.int64]


def class_counts(run: RunLog) -> ClassCounts | None:
    """Return the counts of each class; ``None`` if the kept weights' validation wasn't monitored."""
    if run.validation is None or not run.validation.is_kept:
        return None
    arrays = run.validation.content
    names = [str(name) for name in arrays["names"]]
    if "label_counts" in arrays:
        return ClassCounts(names, *arrays["label_counts"].T)
    if "confusion" not in arrays or np.ndim(arrays["confusion"]) != 2:
        return None
    counts = arrays["confusion"]
    return ClassCounts(names, np.diag(counts), counts.sum(axis=1), counts.sum(axis=0))


def key(run: RunLog, name: str) -> str:
    """Return the key of a setting of training, which a standalone pre-training stage has under ``pretrain``."""
    return f"pretrain.{name}" if run.is_stage else name


def with_value(run: RunLog, name: str) -> str:
    """Return ``key=value`` of a setting of training."""
    value = run.setting(key(run, name))
    return (
        f"{key(run, name)}={'null' if value is None else f'{value:g}' if isinstance(value, float) else value}"
    )


def lower_lr(run: RunLog) -> str:
    """Return the advice to halve the learning rate, as an override if its value is known."""
    name = key(run, "optimizer.lr")
    value = run.setting(name)
    return (
        f"try {name}={value / 2:.2g} (now {value:g})" if isinstance(value, float) else f"try a lower {name}"
    )


def training_loss(run: RunLog) -> Series | None:
    """Return the finite values of the most informative training loss that was logged."""
    for tag in (layout.TRAIN_LOSS_PLAIN, layout.TRAIN_LOSS):
        if tag in run.scalars:
            return finite(run.scalars[tag])
    return None


def finite(series: Series) -> Series:
    """Return the finite values of a series."""
    is_finite = np.isfinite(series.values)
    return Series(series.steps[is_finite], series.values[is_finite])


def listed(names: Sequence[str]) -> str:
    """Return names for a sentence, of many only the first few."""
    shown = [name if len(name) <= 40 else f"{name[:39]}…" for name in names[:MAX_NAMES]]
    if len(names) > MAX_NAMES:
        return f"{', '.join(shown)} and {len(names) - MAX_NAMES} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
