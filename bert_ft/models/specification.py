"""``bert_ft.yaml`` of a saved folder, which describes the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bert_ft import layout
from bert_ft.errors import CheckpointError

FORMAT = 4
FORMAT_WITHOUT_WINDOWS = 3  # of folders that versions before windows read correctly
# format 1 had no task: all were of this one; up to 2, config.json was the encoder's, whatever the model; 4 has `long_texts`
FORMATS = {1: {"task": {"name": "single_label"}}, 2: {}, 3: {}, 4: {}}


def find_bundle(folder: Path | str) -> Path:
    """Return the saved folder itself, or the folder ``model`` of a run or a search.

    Raises:
        CheckpointError: it is neither.
    """
    folder = Path(folder).expanduser()
    for found in (folder, folder / layout.MODEL_FOLDER):
        if (found / layout.SPECIFICATION_FILE).is_file():
            return found
    if not folder.exists():
        raise CheckpointError(f"bundle={folder}: no such folder (searched from {Path.cwd()})")
    raise CheckpointError(
        f"bundle={folder} isn't a saved folder: it has no {layout.SPECIFICATION_FILE}; "
        "give the folder of a finished run, or its folder `model`"
    )


def read_specification(folder: Path) -> dict[str, Any]:
    """Return the content of the file; entries that its format lacks are filled in.

    Raises:
        CheckpointError: it is damaged, or of a format that is unknown here.
    """
    try:
        specification = yaml.safe_load((folder / layout.SPECIFICATION_FILE).read_text(encoding="utf-8"))
        found = specification["format"]
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise CheckpointError(f"bundle={folder}: {layout.SPECIFICATION_FILE} is damaged: {error}") from error
    if found not in FORMATS:
        raise CheckpointError(
            f"bundle={folder} has format {found}; this version of bert_ft reads formats "
            f"{', '.join(map(str, FORMATS))}"
        )
    return {"label_column": "label", **FORMATS[found], **specification}
