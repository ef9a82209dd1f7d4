"""What the monitors saved in ``monitor/`` for the one step that a report shows."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from bert_ft import layout

Arrays = dict[str, NDArray]
LossRow = dict[str, str | float | int | None]
Content = TypeVar("Content")

# kind → what each of its files, or each row of it, must hold
JUDGED_ROWS = {"logits", "labels", "rows", "names", "num_rows"}
LOSSES = {"row", "text", "label", "prediction", "probability", "loss"}
NEEDED = {
    layout.VALIDATION_ROWS: JUDGED_ROWS,
    layout.TEST_ROWS: JUDGED_ROWS,
    layout.VECTORS: {"vectors", "labels", "predictions", "rows", "names"},
    layout.ATTENTION_MAPS: {"entropy", "distance", "on_first", "on_last", "on_self"},
    layout.TOP_LOSSES: LOSSES,
    layout.TEST_LOSSES: LOSSES,
}

_PLACES = dict.fromkeys(
    (layout.TEST_ROWS, layout.TEST_LOSSES), layout.TEST_FOLDER
)  # of others the monitors' folder


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
    """A file doesn't hold what it should; the message says what is wrong."""


def read_arrays(folder: Path, kind: str, kept_step: int | None) -> Snapshot[Arrays] | None:
    """Read ``<kind>_<step>.npz`` of the kept checkpoint's step, else of the last step; ``None`` if there is none.

    Raises:
        DamagedFileError: it can't be read, or lacks one of the arrays that ``NEEDED`` names.
    """
    path, step = _choose(folder, kind, kept_step)
    if path is None:
        return None
    name = f"{_PLACES.get(kind, layout.MONITOR_FOLDER)}/{path.name}"
    content = read_or_say(path, name, _arrays)
    if lacking := NEEDED[kind] - content.keys():
        raise DamagedFileError(f"{name} lacks {', '.join(sorted(lacking))}")
    return Snapshot(step, step == kept_step, content)


def read_top_losses(
    folder: Path, kept_step: int | None, kind: str = layout.TOP_LOSSES
) -> Snapshot[list[LossRow]] | None:
    """Read ``<kind>_<step>.json``, chosen as in ``read_arrays``.

    Raises:
        DamagedFileError: it can't be read, or isn't a list of such rows.
    """
    path, step = _choose(folder, kind, kept_step)
    if path is None:
        return None
    name, needed = f"{_PLACES.get(kind, layout.MONITOR_FOLDER)}/{path.name}", NEEDED[kind]
    content = read_or_say(path, name, read_json)
    if not isinstance(content, list) or not all(
        isinstance(row, dict) and row.keys() >= needed for row in content
    ):
        raise DamagedFileError(f"{name} isn't a list of {', '.join(sorted(needed))}")
    return Snapshot(step, step == kept_step, content)


def read_or_say(path: Path, name: str, read: Callable[[Path], Content]) -> Content:
    """Return the content that ``read`` finds in the file.

    Raises:
        DamagedFileError: the file can't be read; the message calls it ``name``.
    """
    try:
        return read(path)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedFileError(f"{name} can't be read ({error})") from error


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def _arrays(path: Path) -> Arrays:
    # the file is opened here, since np.load leaves a damaged one open
    with path.open("rb") as file, NpzFile(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _choose(folder: Path, kind: str, kept_step: int | None) -> tuple[Path | None, int]:
    paths = layout.monitor_files(folder, kind)
    step = kept_step if kept_step in paths else max(paths, default=0)
    assert step is not None
    return paths.get(step), step
