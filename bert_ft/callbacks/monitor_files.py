"""What monitors leave in files for whoever draws it; a reader never meets half a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from bert_ft import layout


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``arrays`` as an ``.npz``, its folder too if need be."""
    with _finished_at(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stub takes arrays for `allow_pickle`


def save_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Write ``records`` as JSON, the folder too if need be."""
    with _finished_at(path) as file:
        file.write(json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False).encode())


def drop_later(folder: Path, kind: str, step: int) -> None:
    """Remove files ``<kind>_<step>.*`` of later steps than ``step``: a run that goes on from there did others."""
    for written, path in layout.monitor_files(folder, kind).items():
        if written > step:
            path.unlink()


@contextmanager
def _finished_at(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    with unfinished.open("wb") as file:
        yield file
    os.replace(unfinished, path)
