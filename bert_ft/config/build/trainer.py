"""Build Lightning's Trainer for a stage, and set up a process for training."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from bert_ft.config.instantiate import build_named, entries
from bert_ft.training.precision import Precision, effective_precision

# keys of `trainer` that aren't passed on to Lightning as they are
# no limit yet: the number of epochs depends on the data
OWN_TRAINER_KEYS = ("accelerator", "max_epochs", "min_train_steps", "compile", "val_check_interval")
AUTO = "auto"


def trainer_with(
    settings: DictConfig,
    precision: Precision,
    *,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    folder: Path,
) -> Trainer:
    """Return a Trainer whose number of epochs isn't limited yet.

    Callbacks that would have no logger are left out, since Lightning refuses them.
    """
    useless: tuple[type[Callback], ...] = () if loggers else (LearningRateMonitor,)
    if not settings.enable_progress_bar:
        useless += (ProgressBar,)
    return build_named(
        "trainer",
        entries(settings, without=OWN_TRAINER_KEYS),
        accelerator=_accelerator(settings),
        max_epochs=-1,
        val_check_interval=None if settings.val_check_interval == AUTO else settings.val_check_interval,
        precision=precision.effective,
        callbacks=[callback for callback in callbacks if not isinstance(callback, useless)],
        logger=list(loggers) or False,
        default_root_dir=str(folder),
        # no dry run with torch.compile, which would compile for its number of rows
        **({"num_sanity_val_steps": 0} if settings.get("compile") else {}),
        use_distributed_sampler=False,  # our samplers distribute the rows over the ranks
    )


def precision_of(settings: DictConfig) -> Precision:
    """Return the precision that is used with the settings of a Trainer."""
    return effective_precision(settings.precision, on_cpu=_accelerator(settings) == "cpu")


def _accelerator(settings: DictConfig) -> str:
    """Return the accelerator; ``auto`` is a CPU if torch has an Apple GPU, which lacks kernels for packed texts."""
    accelerator = str(settings.accelerator)
    if accelerator != "auto":
        return accelerator
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if found is None or found.type == "mps" else accelerator


def quieten() -> None:
    """Suppress messages of Lightning that don't concern a user of this package."""
    datasets.disable_progress_bars()
    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators",
        "lightning.fabric",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    if warnings.formatwarning is not _as_sentence:
        _formats.append(warnings.formatwarning)
        warnings.formatwarning = _as_sentence
    # a short run logs at its end, so Lightning's advice on log_every_n_steps doesn't apply
    warnings.filterwarnings("ignore", message="The number of training batches")
    # batches are slices of memory-mapped ids, so data workers only add cost
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # the folder of a resumed run; a finished run is refused in check_folder
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # callbacks such as monitors and the progress bar, which a resumed run may turn off
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
    # the position is in the data module's state; Lightning looks for it in the loader
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch")
    # Lightning 2.6 uses a name that torch 2.13 renamed
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")


_formats: list[Callable[..., str]] = []  # the previous warnings.formatwarning


def _as_sentence(
    message: Any, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Format a Lightning warning as its text only, without file and line of code."""
    if f"{os.sep}lightning{os.sep}" in filename:
        return f"{message}\n"
    return _formats[-1](message, category, filename, lineno, line)
