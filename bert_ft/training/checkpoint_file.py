"""Replace checkpoints and saved folders atomically, so that a full disk never destroys the previous one.

Lightning writes to ``TMPDIR`` first, copies over the old file, and ignores missing permissions.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer
from safetensors import SafetensorError

from bert_ft.atomic_file import flush_folder, replaced
from bert_ft.errors import OutputError
from bert_ft.training.shared_weights import with_shared


def write_whole_checkpoints(trainer: Trainer) -> None:
    """Make a trainer replace checkpoints atomically; sharded strategies keep their own way."""
    strategy = trainer.strategy
    if type(strategy.checkpoint_io) is TorchCheckpointIO:
        strategy.checkpoint_io = WholeCheckpoints()


class WholeCheckpoints(TorchCheckpointIO):
    """Write to a temporary file next to the target, flush it to the disk, and rename it."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Save a checkpoint.

        Raises:
            OutputError: it can't be written; the previous checkpoint is intact.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        with naming_unwritten(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replaced(path) as unfinished:
                _write(checkpoint, unfinished)

    def load_checkpoint(self, path: str | Path, *args: Any, **settings: Any) -> dict[str, Any]:
        """Return a checkpoint with all of its weights; see ``shared_weights``."""
        return with_shared(super().load_checkpoint(path, *args, **settings), Path(path))


def save_whole(folder: Path, save: Callable[[Path], None]) -> None:
    """Let ``save`` fill a folder, which replaces an earlier one when it is complete.

    Raises:
        OutputError: it can't be written; the earlier folder is intact.
    """
    unfinished = folder.with_name(f".{folder.name}.tmp")
    before = folder.with_name(f".{folder.name}.before")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that died
    with naming_unwritten(folder):
        try:
            save(unfinished)
            flush_folder(unfinished)
            shutil.rmtree(before, ignore_errors=True)
            if folder.exists():
                os.replace(folder, before)
            os.replace(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove unfinished files of a process that was killed."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def naming_unwritten(path: Path) -> Iterator[None]:
    """Turn an error of the file system, inside the context, into one that says what couldn't be written.

    Raises:
        OutputError: an error of the file system.
    """
    try:
        yield
    except OutputError:  # says it already
        raise
    except (OSError, SafetensorError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        whole = "; the previous content is intact" if path.exists() else ""
        raise OutputError(f"{path}: couldn't be written: {reason}{whole}") from error


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint to a file, without a copy of it in memory."""
    with path.open("wb") as file:
        output = _Output(file)
        try:
            torch.save(checkpoint, cast(IO[bytes], output))
        except RuntimeError:
            if output.error is None:
                raise
            raise output.error from None  # torch says only that its writer failed
        if output.error is not None:
            raise output.error


class _Output:
    """A file that remembers the error of a failed write."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return int(self._file.write(content))
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self._file.flush()
