"""Try validation and a training step on a few rows before training, to find what would otherwise fail after an epoch.

Lightning's sanity check (``trainer.num_sanity_val_steps``) runs validation with all callbacks, logs nothing, and restores
the random state. Here it gets ``NUM_ROWS`` rows per batch (``ResumableDataModule``). At its end ``DryRun`` computes the loss
of a few training rows, without a backward pass, and compares what callbacks monitor with what was logged.
Resumed runs, and compiled ones, which would take a minute, are not tried.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from bert_ft import layout
from bert_ft.errors import ConfigError
from bert_ft.training.encoder_module import EncoderModule

NUM_ROWS = 2
OWN_MODULES = ("bert_ft.", "lightning.")


def few(batch: Any) -> Any:
    """Return the last rows of a sampler: rows, or ``(epoch, rows)``."""
    return (batch[0], batch[1][-NUM_ROWS:]) if isinstance(batch, tuple) else batch[-NUM_ROWS:]


class DryRun(Callback):
    """Refuse callbacks that monitor values which aren't logged, before the first step; must be the last one."""

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise a ``ConfigError`` that names the key of a setting that can't work."""
        if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            return  # parameters in shards can't be used out of turn
        own = getattr(pl_module, "val_metrics", {})  # of which a few rows may have no value
        names = dict.fromkeys([*trainer.callback_metrics, *own, *_trained_names(trainer, pl_module)])
        names.pop("step", None)
        is_complete = all(type(each).__module__.startswith(OWN_MODULES) for each in trainer.callbacks)  # type: ignore[attr-defined]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            key = key_of(callback)
            monitor = getattr(callback, "monitor", None)
            # a class of the user's own may log in other hooks
            is_needed = is_complete and getattr(callback, "strict", True)
            if isinstance(monitor, str) and is_needed and not _is_logged(monitor, names):
                raise ConfigError(f"{key}.monitor={monitor}: {layout.not_logged(monitor, names)}")
            if isinstance(callback, EarlyStopping | ModelCheckpoint) and isinstance(monitor, str):
                direction = _direction(pl_module, monitor)
                if direction and callback.mode != direction:
                    raise ConfigError(f"{key}.mode={callback.mode}: {layout.wrong_mode(monitor, direction)}")
            if isinstance(callback, ModelCheckpoint):
                _check_file(key, callback, names, is_complete)


def key_of(callback: Callback) -> str:
    """Return the configuration key that a callback was built from, or the name of its class."""
    return getattr(callback, "config_key", type(callback).__name__)


def _is_logged(name: str, names: Mapping[str, Any]) -> bool:
    return name in names or name.startswith(layout.LEARNING_RATE)


def _direction(module: LightningModule, monitor: str) -> str | None:
    """Return ``max`` or ``min`` if a metric of the module says which is better."""
    metrics = dict(getattr(module, "val_metrics", {}).items())
    is_higher = getattr(metrics.get(monitor), "higher_is_better", None)
    return None if is_higher is None else "max" if is_higher else "min"


def _check_file(key: str, callback: ModelCheckpoint, names: Mapping[str, Any], is_complete: bool) -> None:
    """Refuse a file name that can't be built, and a folder that isn't writable."""
    wanted = re.findall(r"\{(.*?)[:\}]", callback.filename or "")
    for name in wanted if is_complete else ():
        if name not in ("epoch", "step") and not _is_logged(name, names):
            raise ConfigError(
                f"{key}.filename={callback.filename}: {name}: {layout.not_logged(name, {**names, 'epoch': 0, 'step': 0})}"
            )
    values = dict.fromkeys([*names, *wanted], torch.tensor(0.5))
    try:
        callback.format_checkpoint_name(values | dict.fromkeys(("epoch", "step"), torch.tensor(1)))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{key}.filename={callback.filename}: can't be turned into a file name: {error}"
        ) from error
    folder = str(callback.dirpath)
    if "://" in folder:
        return
    there = next(each for each in (Path(folder), *Path(folder).absolute().parents) if each.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ConfigError(f"{key}.dirpath={folder}: {there} can't be written to; give another folder")


def _trained_names(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """Return the names that a training step logs, without changing gradients or buffers."""
    data: LightningDataModule = trainer.datamodule  # type: ignore[attr-defined]
    loader: Any = data.train_dataloader()
    batch = trainer.precision_plugin.convert_input(loader.dataset[few(next(iter(loader.sampler)))])
    batch = trainer.strategy.batch_to_device(batch, module.device)
    logged: dict[str, Any] = {layout.GRAD_NORM: None, layout.GRAD_NORM_CLIPPED: None}
    casts = trainer.precision_plugin.train_step_context()
    with _unchanged(module), _logging_to(module, logged), torch.enable_grad(), casts:
        loss = cast(EncoderModule, module).try_training_step(batch)
    if not (isinstance(loss, Tensor) and loss.numel() == 1):
        raise ConfigError(f"loss: a training step gives {loss!r}, not one number")
    return logged


@contextmanager
def _logging_to(module: LightningModule, logged: dict[str, Any]) -> Iterator[None]:
    def log(name: str, value: Any, **settings: Any) -> None:
        logged[name] = None

    module.log = log  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del module.log


@contextmanager
def _unchanged(module: LightningModule) -> Iterator[None]:
    """Restore buffers afterwards, such as running means of normalization layers."""
    before = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
