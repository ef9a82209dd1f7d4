"""Only the best trials keep their weights."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from bert_ft.search.ranking import ranked
from bert_ft.search.study_log import StudyLog, TrialLog

HEAVY = ("model", "checkpoints")  # of a run's folder; what is logged stays
LINK = "model"


def keep_only_best(log: StudyLog, folder: Path) -> None:
    """Remove the weights of every ended trial but the best ``log.keep_best`` (``None``: all); link the best one's ``model/`` at the top.

    Trials that didn't complete keep none. Folders of other machines are left to them.
    """
    kept = kept_trials(log)
    numbers = {trial.number for trial in kept}
    ended = [trial for trial in log.trials if trial.is_settled]
    in_use = {trial.folder for trial in log.trials if not trial.is_settled} | {trial.folder for trial in kept}
    for own in _own_folders(trial for trial in ended if trial.number not in numbers):
        if str(own) not in in_use:
            for name in HEAVY:
                shutil.rmtree(own / name, ignore_errors=True)
    _link(folder / LINK, [own / "model" for own in _own_folders(kept)])


def kept_trials(log: StudyLog) -> list[TrialLog]:
    """The trials that keep their weights, the best first."""
    return ranked(log)[: log.keep_best]


def _own_folders(trials: Iterable[TrialLog]) -> list[Path]:
    return [Path(t.folder) for t in trials if t.folder is not None and t.host in (None, socket.gethostname())]


def _link(link: Path, models: Sequence[Path]) -> None:
    """Let the link lead to the first of the models that is there; none where there is no link to replace but a folder."""
    target = next((model for model in models if model.is_dir()), None)
    if target is None or (link.exists() and not link.is_symlink()):
        return
    to = os.path.relpath(target, link.parent)
    if link.is_symlink() and os.readlink(link) == to:
        return
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(to, target_is_directory=True)
    new.replace(link)  # atomic: whoever reads the link finds the one or the other
