"""Settings of a caller in Python as overrides: ``{"averaging": "swa", "optimizer.lr": 2e-4}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bert_ft.compat.hydra import quoted
from bert_ft.config.paths import conf_dir
from bert_ft.config.text_values import text_override


def encoder_words(encoder: str) -> list[str]:
    """Return the overrides that select an encoder: a choice of the group ``encoder``, a hub name or a folder."""
    if encoder in {path.stem for path in (conf_dir() / "encoder").glob("[!_]*.yaml")}:
        return [f"encoder={encoder}"]
    return ["encoder=any", text_override("encoder.name_or_path", str(encoder))]


def words_of(settings: Mapping[str, Any]) -> list[str]:
    """Return the overrides of settings, groups first: they set values of keys."""
    words = [override(key, value) for key, value in settings.items()]
    return sorted(words, key=lambda word: not _is_group(word.partition("=")[0]))


def override(key: str, value: Any) -> str:
    """Return the override that gives a key this value, or chooses from a group; ``None`` chooses ``none``."""
    if _is_group(key) and (value is None or isinstance(value, str)):
        return f"{key}={'none' if value is None else value}"
    if isinstance(value, str):
        return text_override(key, value)
    return f"{key}={_spelled(value)}"


def _is_group(key: str) -> bool:
    return (conf_dir() / key.lstrip("+")).is_dir()


def _spelled(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_spelled(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple | np.ndarray):
        return f"[{','.join(map(_spelled, value))}]"
    return quoted(value) if isinstance(value, str) else str(value)
