"""What the monitors left in ``monitor/``, of the one step that a report shows."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from bert_ft import layout

Arrays = dict[str, NDArray]
LossRow = dict[str, str | float | int | None]
Content = TypeVar("Content")

# kind → what each of its files must hold
NEEDED = {
    layout.VALIDATION_ROWS: {"logits", "labels", "rows", "names", "confusion", "num_rows"},
    layout.VECTORS: {"vectors", "labels", "predictions", "rows", "names"},
    layout.ATTENTION_MAPS: {"entropy", "distance", "on_first", "on_last", "on_self"},
}
NEEDED_OF_A_LOSS = {"row", "text", "label", "prediction", "probability", "loss"}


@dataclass(frozen=True)
class Snapshot(Generic[Content]):
    """One file.

    Attributes:
        step: optimizer steps done when it was written.
        is_kept: whether the kept checkpoint was written at this step.
        content: arrays by name, or the rows of the highest losses.
    """

    step: int
    is_kept: bool
    content: Content


class DamagedFileError(Exception):
    """A file of a broken-off run holds something else than it should; the message names both."""


def read_arrays(folder: Path, kind: str, kept_step: int | None) -> Snapshot[Arrays] | None:
    """``<kind>_<step>.npz`` of the kept checkpoint's step, else of the last; ``None`` where there is none.

    Raises:
        DamagedFileError: it can't be read, or lacks one of the arrays that ``NEEDED`` names.
    """
    path, step = _choose(folder, kind, kept_step)
    if path is None:
        return None
    try:
        # the file opened here: np.load leaves a damaged one open
        with path.open("rb") as file, NpzFile(file, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedFileError(f"{layout.MONITOR_FOLDER}/{path.name} can't be read ({error})") from error
    if lacking := NEEDED[kind] - content.keys():
        raise DamagedFileError(f"{layout.MONITOR_FOLDER}/{path.name} lacks {', '.join(sorted(lacking))}")
    return Snapshot(step, step == kept_step, content)


def read_top_losses(folder: Path, kept_step: int | None) -> Snapshot[list[LossRow]] | None:
    """``top_losses_<step>.json``, likewise."""
    path, step = _choose(folder, layout.TOP_LOSSES, kept_step)
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{layout.MONITOR_FOLDER}/{path.name} can't be read ({error})") from error
    if not isinstance(content, list) or not all(_is_loss_row(row) for row in content):
        raise DamagedFileError(
            f"{layout.MONITOR_FOLDER}/{path.name} isn't a list of {', '.join(sorted(NEEDED_OF_A_LOSS))}"
        )
    return Snapshot(step, step == kept_step, content)


def steps_of(folder: Path, kind: str) -> list[int]:
    """The steps that there is a file of, rising."""
    return sorted(layout.monitor_files(folder, kind))


def _is_loss_row(row: object) -> bool:
    return isinstance(row, dict) and row.keys() >= NEEDED_OF_A_LOSS


def _choose(folder: Path, kind: str, kept_step: int | None) -> tuple[Path | None, int]:
    paths = layout.monitor_files(folder, kind)
    step = kept_step if kept_step in paths else max(paths, default=0)
    assert step is not None
    return paths.get(step), step
