"""Claim the folder of a run before anything is written, and give it back if the run is refused."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from bert_ft import layout
from bert_ft.atomic_file import new_folder, write
from bert_ft.errors import ConfigError
from bert_ft.training.resume import checkpoint_of, resume_command, run_of


@dataclass(frozen=True)
class RunFolder:
    """A folder that this run may fill.

    Attributes:
        path: the folder; it exists and was empty, unless a run is resumed in it.
        created: the folders created for it, the deepest first.
        record: for a resumed run, the files of Hydra's record, which the new start overwrites.
    """

    path: Path
    created: tuple[Path, ...] = ()
    record: Mapping[Path, bytes] | None = None

    def give_back(self) -> None:
        """Remove what this run has written; a resumed run keeps everything and gets its old record back."""
        if self.record is not None:
            for path, content in self.record.items():
                write(path, content)
            return
        for child in self.path.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        for folder in self.created:
            if any(folder.iterdir()):
                break
            folder.rmdir()


def claim(config: DictConfig, overrides: Sequence[str]) -> RunFolder:
    """Create the folder named by ``hydra.run.dir``; if the default name (a time) is taken, add a number to it.

    Raises:
        ConfigError: the folder isn't empty, or doesn't belong to the resumed run.
    """
    path = Path(config.hydra.run.dir).absolute()
    if config.get("resume_from") is not None:
        _check_own_folder(path, config.resume_from)
        if checkpoint_of(config.resume_from) is None:
            nothing = "it stopped before its first checkpoint, so it starts from the beginning"
            print(f"resume_from={config.resume_from}: {nothing}", file=sys.stderr)
        return RunFolder(path, record=_record(path))
    if not any(override.startswith("hydra.run.dir=") for override in overrides):
        return _new_folder(path)
    if not path.exists():
        return _new_folder(path)
    if not path.is_dir() or any(path.iterdir()):
        raise ConfigError(
            f"hydra.run.dir={path}: not an empty folder; choose another, or continue its run with resume_from"
        )
    return RunFolder(path)


def interrupted(folder: RunFolder | None) -> str:
    """Return the message for a command that a signal ended while it wasn't training, and clean up after it."""
    if folder is None:
        return "interrupted"
    if folder.record is not None:
        return f"interrupted before the first step; to continue: {shlex.join(('python', *sys.orig_argv[1:]))}"
    if (folder.path / layout.METRICS_FILE).exists():
        return f"interrupted after the run had finished; its results are in {folder.path}"
    if (folder.path / layout.OVERRIDES_FILE).exists():
        return f"interrupted before the first step; to continue: {resume_command(folder.path)}"
    folder.give_back()
    return "interrupted before the first step"


def check_folder(folder: Path, resume_from: str | None) -> None:
    """Refuse a folder that a run must not write to.

    Raises:
        ConfigError: it has a finished run, or isn't the folder of the resumed run.
    """
    if resume_from is None and (folder / layout.METRICS_FILE).exists():
        raise ConfigError(f"hydra.run.dir={folder}: already has a finished run; choose another folder")
    if resume_from is not None:
        _check_own_folder(folder, resume_from)


def _record(folder: Path) -> dict[Path, bytes]:
    files = (folder / layout.HYDRA_FOLDER).glob("*.yaml")
    return {path: path.read_bytes() for path in files}


def _new_folder(wanted: Path) -> RunFolder:
    missing = [parent for parent in wanted.parents if not parent.exists()]
    path = new_folder(wanted)
    return RunFolder(path, (path, *missing))


def _check_own_folder(folder: Path, resume_from: str) -> None:
    """Require the run's own folder: the record of the best checkpoint so far is there."""
    own = run_of(resume_from)
    if own != folder.absolute():
        raise ConfigError(
            f"resume_from={resume_from}: a run must be resumed in its own folder; add hydra.run.dir={own}"
        )
