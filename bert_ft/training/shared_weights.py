"""Checkpoints of a finished run without the weights that its saved model has.

Tensors of ``state_dict`` that are bitwise in ``model.safetensors`` are left out, and read from there when the checkpoint is
loaded. So a finished run keeps each weight once, and can still be trained longer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bert_ft.errors import CheckpointError

SHARED = "shared_weights"  # key of a checkpoint: where the missing weights are


def read_checkpoint(path: Path | str, map_location: str = "cpu") -> dict[str, Any]:
    """Return the content of a checkpoint, with all of its weights.

    Raises:
        CheckpointError: its weights are in a saved model that has been changed or removed.
    """
    checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    return with_shared(checkpoint, Path(path))


def with_shared(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the checkpoint, read from ``path``, with the weights that the saved model has; see ``read_checkpoint``."""
    shared = checkpoint.pop(SHARED, None)
    if shared is None:
        return checkpoint
    saved = path.parent / shared["file"]
    try:
        found = load_file(saved)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: its weights are in {saved}, which can't be read: {error}") from error
    if _digest(found) != shared["sha256"]:
        raise CheckpointError(
            f"{path}: its weights were in {saved}, which now holds different ones; restore that file"
        )
    for name, saved_name in shared["names"].items():
        checkpoint["state_dict"][name] = found[saved_name]
    # the order of the module, in which strategies and averages may pair the values
    checkpoint["state_dict"] = {name: checkpoint["state_dict"][name] for name in shared["order"]}
    return checkpoint


def share_weights(path: Path, saved: Path) -> dict[str, Any] | None:
    """Return the checkpoint at ``path`` without the weights that the saved model has; ``None`` if it has none of them."""
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if SHARED in checkpoint:
        return None
    of_model: dict[Any, list[tuple[str, Tensor]]] = {}
    weights = load_file(saved)
    for name, value in weights.items():
        of_model.setdefault(_look(value), []).append((name, value))
    state = checkpoint["state_dict"]
    names = {}
    for name, value in state.items():
        for saved_name, candidate in of_model.get(_look(value), ()):
            if torch.equal(_bytes(value), _bytes(candidate)):
                names[name] = saved_name
                break
    if not names:
        return None
    checkpoint["state_dict"] = {name: value for name, value in state.items() if name not in names}
    file = os.path.relpath(saved, path.parent)
    checkpoint[SHARED] = {"file": file, "sha256": _digest(weights), "names": names, "order": list(state)}
    return checkpoint


def _look(value: Tensor) -> tuple[Any, ...]:
    """Return properties that equal tensors share and others hardly ever do."""
    return value.dtype, tuple(value.shape), bytes(_bytes(value)[:64].tolist())


def _bytes(value: Tensor) -> Tensor:
    return value.detach().contiguous().reshape(-1).view(torch.uint8)


def _digest(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names and values; the file itself may differ between versions of safetensors."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(_bytes(value).numpy().data)
    return digest.hexdigest()
