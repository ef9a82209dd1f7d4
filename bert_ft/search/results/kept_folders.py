"""Only the best trials keep their weights."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from bert_ft import layout
from bert_ft.search.results.ranking import ranked
from bert_ft.search.results.study_log import StudyLog, TrialLog

# in a run's folder; its logs stay
WEIGHTS = (layout.MODEL_FOLDER, layout.CHECKPOINT_FOLDER)
STAGE_FOLDERS = tuple(f"{layout.PRETRAINING_FOLDER}/{name}" for name in WEIGHTS)
HEAVY = (*WEIGHTS, *STAGE_FOLDERS)


def keep_only_best(log: StudyLog, folder: Path) -> None:
    """Remove the weights of all ended trials except the best ``log.keep_top_k``, and link ``model/`` to the best one's.

    Only complete trials keep weights. Each machine removes only its own folders; if the best trial's folder
    isn't visible from here, there is no link.
    """
    # trials with equal settings share one folder
    folders: dict[str | int, TrialLog] = {}
    for trial in ranked(log):
        folders.setdefault(trial.folder or trial.number, trial)
    kept = list(folders.values())[: log.keep_top_k]
    numbers = {trial.number for trial in kept}
    in_use = {trial.folder for trial in log.trials if not trial.is_settled or trial.number in numbers}
    for trial in log.trials:
        if trial.folder is not None and is_here(trial) and trial.folder not in in_use:
            for name in HEAVY:
                shutil.rmtree(Path(trial.folder, name), ignore_errors=True)
    _link(folder / layout.MODEL_FOLDER, _best_model(kept))


def is_here(trial: TrialLog) -> bool:
    """Return whether the trial ran on this machine."""
    return trial.host in (None, socket.gethostname())


def _best_model(kept: Iterable[TrialLog]) -> Path | None:
    """Return the folder of the best model; trials of this machine without a model are skipped."""
    for trial in kept:
        if trial.folder is not None:
            model = Path(trial.folder) / layout.MODEL_FOLDER
            if model.is_dir():
                return model
            if not is_here(trial):
                return None
    return None


def _link(link: Path, model: Path | None) -> None:
    """Make the link point to the model, or remove it if there is none. Anything that isn't a link stays."""
    if link.exists() and not link.is_symlink():
        return
    if model is None:
        link.unlink(missing_ok=True)
        return
    to = os.path.relpath(model, link.parent)
    if link.is_symlink() and os.readlink(link) == to:
        return
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(to, target_is_directory=True)
    new.replace(link)  # atomic: a reader finds the old link or the new one
