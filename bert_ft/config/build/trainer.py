"""Lightning's Trainer for a stage of a run, and what a process sets up before it trains."""

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

# of `trainer`, which are otherwise arguments of Lightning's
# at first there is no limit: how long a run will be its data says
OWN_TRAINER_KEYS = ("accelerator", "max_epochs", "min_train_steps", "compile")


def trainer_with(
    settings: DictConfig,
    precision: Precision,
    *,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    folder: Path,
) -> Trainer:
    """A Trainer that as yet trains without an end.

    A callback that has nothing to write to is left out: Lightning refuses those.
    """
    useless: tuple[type[Callback], ...] = () if loggers else (LearningRateMonitor,)
    if not settings.enable_progress_bar:
        useless += (ProgressBar,)
    return build_named(
        "trainer",
        entries(settings, without=OWN_TRAINER_KEYS),
        accelerator=_accelerator(settings),
        max_epochs=-1,
        precision=precision.effective,
        callbacks=[callback for callback in callbacks if not isinstance(callback, useless)],
        logger=list(loggers) or False,
        default_root_dir=str(folder),
        # the dry run; each number of rows is compiled
        **({"num_sanity_val_steps": 0} if settings.get("compile") else {}),
        use_distributed_sampler=False,  # our samplers divide the rows among the ranks themselves
    )


def precision_of(settings: DictConfig) -> Precision:
    """The precision that runs for the settings of a Trainer."""
    return effective_precision(settings.precision, on_cpu=_accelerator(settings) == "cpu")


def _accelerator(settings: DictConfig) -> str:
    """``auto`` is a CPU also where torch has an Apple GPU, which lacks kernels that packed texts need."""
    accelerator = str(settings.accelerator)
    if accelerator != "auto":
        return accelerator
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if found is None or found.type == "mps" else accelerator


def quieten() -> None:
    """Lightning's remarks that don't concern a user of this package."""
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
    # a short run logs at its end
    warnings.filterwarnings("ignore", message="The number of training batches")
    # batches are cut from memory-mapped ids: workers would only cost
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # the folder of a run that is resumed; a finished one is refused in check_folder
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # such as monitors and the progress bar, which a resumed run may switch off
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
    # the data module's state has the position, which Lightning looks for in the loader
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch")
    # Lightning 2.6 calling torch by a name that torch 2.13 renames
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")


_formats: list[Callable[..., str]] = []  # how warnings looked before


def _as_sentence(
    message: Any, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Format a warning of Lightning's, which names a file of its own and a line of code, as its text alone."""
    if f"{os.sep}lightning{os.sep}" in filename:
        return f"{message}\n"
    return _formats[-1](message, category, filename, lineno, line)
