"""Check that the weight files of an encoder's folder are present and complete, without reading them all."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from bert_ft import layout
from bert_ft.data.git_lfs import refuse_pointers
from bert_ft.errors import CheckpointError

# in the order in which transformers looks for them
_FILES = (
    layout.WEIGHTS_FILE,
    f"{layout.WEIGHTS_FILE}.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_AGAIN = "download the folder again, or copy it from its source"


def check_weight_files(name: str, folder: Path) -> None:
    """Refuse weights if a file is missing, truncated or damaged.

    Raises:
        CheckpointError: names the file; ``name`` is the user's name for the folder.
    """
    where = f"encoder.name_or_path={name}"
    refuse_pointers(where, folder)
    first = next((folder / file for file in _FILES if (folder / file).is_file()), None)
    if first is None:
        raise CheckpointError(f"{where}: the folder has no weights; {_FILES[0]} is missing")
    files = [first]
    if first.suffix == ".json":
        try:
            files = [
                folder / file for file in sorted(set(json.loads(first.read_text())["weight_map"].values()))
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{where}: {first.name} is damaged ({error}); {_AGAIN}") from error
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise CheckpointError(
                f"{where}: {len(missing)} of the {len(files)} files of the weights are missing: {', '.join(missing[:3])}"
                f"{', …' if len(missing) > 3 else ''}; {_AGAIN}"
            )
    for file in files:
        if fault := _fault(file):
            raise CheckpointError(f"{where}: {file.name} {fault}; {_AGAIN}")


def _fault(file: Path) -> str | None:
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, "pt"):  # compares the header with the file's length
                return None
        except SafetensorError as error:
            return f"is damaged or cut short ({error})"
    with file.open("rb") as opened:
        beginning = opened.read(2)
    if not beginning:
        return "is empty"
    # torch writes a zip, whose directory comes last; older files are pickles
    return "is cut short" if beginning == b"PK" and not zipfile.is_zipfile(file) else None
