"""Decide which files a finished run keeps on disk (``keep``)."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

from bert_ft import layout
from bert_ft.training.checkpoint_file import WholeCheckpoints
from bert_ft.training.resume import checkpoint_of, is_of_pretraining
from bert_ft.training.shared_weights import share_weights

STAGE_CHECKPOINTS = f"{layout.PRETRAINING_FOLDER}/{layout.CHECKPOINT_FOLDER}"
STAGE_MODEL = f"{layout.PRETRAINING_FOLDER}/{layout.MODEL_FOLDER}"

log = logging.getLogger(__name__)


def tidy(folder: Path, keep: str) -> None:
    """Remove from the folder of a finished run what ``keep`` doesn't include.

    Args:
        folder: the run's folder, with ``model/``.
        keep: ``all``; ``resumable``: what further training needs, each weight once; ``model``: only the weights in ``model/``.
    """
    if keep == "model":
        for name in (layout.CHECKPOINT_FOLDER, STAGE_CHECKPOINTS, STAGE_MODEL):
            shutil.rmtree(folder / name, ignore_errors=True)
    if keep != "resumable":
        return
    if not is_of_pretraining(checkpoint_of(folder)):  # which would be trained further from there
        shutil.rmtree(folder / STAGE_CHECKPOINTS, ignore_errors=True)
    saved = folder / layout.MODEL_FOLDER / layout.WEIGHTS_FILE
    for path in sorted((folder / layout.CHECKPOINT_FOLDER).glob("*.ckpt")):
        if path.is_file() and saved.is_file():
            _shrink(path, saved)


def size_line(folder: Path) -> str:
    """Return the size of a run's folder, and which parts of it may be deleted."""
    sizes = {
        f"{name}/": size
        for name in (layout.CHECKPOINT_FOLDER, STAGE_CHECKPOINTS, STAGE_MODEL)
        if (size := _size(folder / name))
    }
    line = _shown(_size(folder))
    if not sizes:
        return line
    parts = " and ".join(f"{name} ({_shown(size)})" for name, size in sizes.items())
    return f"{line}; {parts} may be deleted unless you train the run further"


def _shrink(path: Path, saved: Path) -> None:
    try:
        checkpoint = share_weights(path, saved)
        if checkpoint is not None:
            WholeCheckpoints().save_checkpoint(checkpoint, path)
    except (OSError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        # the run is finished, and the file is unchanged
        log.warning("couldn't remove from %s the weights that %s also has: %s", path, saved, error)


def _size(folder: Path) -> int:
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                yield path.stat().st_size


def _shown(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.0f} kB"
