"""Check that two starts of a search give comparable trials: their shared settings, and the files of these."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bert_ft.nested import walk

_ENDS = 1 << 20  # bytes at each end of a file that are read: nothing unbounded is done before a search starts
# settings that don't change what a trial reaches, or that differ between machines
_IRRELEVANT = re.compile(
    r"(hydra|monitor|logger|report|test|output_dir|resume_from|trust)(\..*)?"
    r"|(pretrain\.)?trainer\.(accelerator|devices|num_nodes|strategy|profiler|log_every_n_steps|enable_\w+)"
    r"|data\.(cache_dir|num_workers|eval_batch_size)|pretrain\.num_cached"
)


def shared_settings(config: DictConfig, searched: Collection[str]) -> dict[str, str]:
    """Return key → value of the settings that all trials share, which excludes the searched keys and groups.

    A file is described by its content, and any other path by its last part, since machines may keep them in
    different places.
    """
    names = {name.lstrip("+") for name in searched}
    plain = OmegaConf.to_container(config, resolve=False)
    values = {key: value for key, value in walk(plain) if not isinstance(value, dict | list)}
    choices = OmegaConf.select(config, "hydra.runtime.choices") or {}
    values |= {
        group: choice for group, choice in choices.items() if not group.startswith(("hydra", "search"))
    }
    return {
        key: _described(value)
        for key, value in values.items()
        if not _IRRELEVANT.fullmatch(key)
        and not any(key == name or key.startswith(f"{name}.") for name in names)
    }


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the common keys whose values differ, with both values; other keys may be of another version."""
    return {key: (before[key], now[key]) for key in before.keys() & now.keys() if before[key] != now[key]}


def is_content(value: str) -> bool:
    """Return whether this value of ``shared_settings`` stands for the content of a file."""
    return value.startswith("file of ")


def digest(settings: Mapping[str, str]) -> str:
    """Return a short text that is equal for equal settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _described(value: Any) -> str:
    if not isinstance(value, str) or os.sep not in value or "${" in value:
        return str(value)
    path = Path(value).expanduser()
    try:
        return _content(path) if path.is_file() else path.name if path.exists() else value
    except OSError:  # a later error names it when it is read
        return value


def _content(path: Path) -> str:
    """Return the size of a file and a hash of its ends."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        read = hashlib.sha256(file.read(_ENDS))
        file.seek(max(0, size - _ENDS))
        read.update(file.read(_ENDS))
    return f"file of {size} bytes, {read.hexdigest()[:12]}"
