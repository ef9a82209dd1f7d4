"""Write the files of monitors that the report draws; a reader never sees half a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_ft import layout
from bert_ft.atomic_file import replaced, write


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``arrays`` as an ``.npz``, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stub takes arrays for `allow_pickle`


def save_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Write ``records`` as JSON, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False).encode())


def drop_later(folder: Path, kind: str, step: int) -> None:
    """Remove files ``<kind>_<step>.*`` of later steps, left by a run that is resumed from ``step``."""
    for written, path in layout.monitor_files(folder, kind).items():
        if written > step:
            path.unlink()
