"""Quiet transformers while it loads, and turn its errors into one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

from bert_ft.errors import CheckpointError, UserError
from bert_ft.models.checkpoint_faults import not_loaded


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Hide transformers' progress bars for loading and saving inside the context."""
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Load quietly inside the context; an error becomes one sentence."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with without_progress_bars():
            yield
    except UserError:
        raise
    except (
        Exception
    ) as error:  # transformers, torch and safetensors raise anything for files that are damaged or don't fit
        raise CheckpointError(not_loaded(name, error)) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
