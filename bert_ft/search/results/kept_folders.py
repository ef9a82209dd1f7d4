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

# of a run's folder; what is logged stays
WEIGHTS = (layout.MODEL_FOLDER, layout.CHECKPOINT_FOLDER)
STAGE_FOLDERS = tuple(f"{layout.PRETRAINING_FOLDER}/{name}" for name in WEIGHTS)
HEAVY = (*WEIGHTS, *STAGE_FOLDERS)


def keep_only_best(log: StudyLog, folder: Path) -> None:
    """Remove the weights of every ended trial but the best ``log.keep_top_k`` (``None``: all); link the best one's ``model/`` at the top.

    Trials that didn't complete keep none. Folders of other machines are left to them; where the best one's can't be seen
    from here there is no link.
    """
    kept = kept_trials(log)
    numbers = {trial.number for trial in kept}
    ended = [trial for trial in log.trials if trial.is_settled]
    in_use = {trial.folder for trial in log.trials if not trial.is_settled} | {trial.folder for trial in kept}
    for own in _own_folders(trial for trial in ended if trial.number not in numbers):
        if str(own) not in in_use:
            for name in HEAVY:
                shutil.rmtree(own / name, ignore_errors=True)
    _link(folder / layout.MODEL_FOLDER, _best_model(kept))


def kept_trials(log: StudyLog) -> list[TrialLog]:
    """The trials that keep their weights, the best first."""
    return ranked(log)[: log.keep_top_k]


def _own_folders(trials: Iterable[TrialLog]) -> list[Path]:
    return [Path(t.folder) for t in trials if t.folder is not None and t.host in (None, socket.gethostname())]


def _best_model(kept: Iterable[TrialLog]) -> Path | None:
    """Of trials, the best first; one of this machine that has none any more is passed over."""
    for trial in kept:
        if trial.folder is not None:
            model = Path(trial.folder) / layout.MODEL_FOLDER
            if model.is_dir():
                return model
            if trial.host not in (None, socket.gethostname()):
                return None
    return None


def _link(link: Path, model: Path | None) -> None:
    """Let the link lead to the model; without one that is there, there is none. What isn't a link stays."""
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
    new.replace(link)  # atomic: whoever reads the link finds the one or the other
