"""Decide which classes a configuration or a saved folder may name, so that a stranger's file can't run os.system."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from bert_ft.nested import walk

TARGET = "_target_"  # names a class, in Hydra's way
# Patterns are Hydra's: a full name, or a package and `.*` for all that is in it.
PATTERN = re.compile(r"[^\W\d]\w*(\.\w+)*(\.\*)?")
IN_CONFIGURATIONS = (
    "bert_ft.*",
    "lightning.pytorch.Trainer",  # and not all of Lightning: load_from_checkpoint runs what a file holds
    "lightning.pytorch.callbacks.*",
    "lightning.pytorch.loggers.*",
    "lightning.pytorch.plugins.*",
    "lightning.pytorch.profilers.*",
    "lightning.pytorch.strategies.*",
    "torch.nn.*",
    "torch.optim.*",
    "torchmetrics.*",
)
# what Hydra itself constructs: launchers, sweepers, its own callbacks
IN_HYDRA = (
    *IN_CONFIGURATIONS,
    "hydra._internal.core_plugins.*",
    "hydra.experimental.callbacks.*",
    "hydra_plugins.*",
)
IN_MODELS = ("bert_ft.*", "torch.nn.*")


def is_trusted(target: str, patterns: Iterable[str]) -> bool:
    """Return whether ``target``, the full name of a class, matches one of the patterns."""
    return any(
        target.startswith(pattern[:-1]) if pattern.endswith(".*") else target == pattern
        for pattern in patterns
    )


def refusal(key: str, target: str) -> str:
    """Return the message for a name that isn't trusted."""
    package = target.rpartition(".")[0] or target
    return f"{key}={target}: isn't among the trusted classes; if it is your own, add trust=[{package}.*]"


def targets(node: Any) -> Iterator[tuple[str, str]]:
    """Yield the dotted key and value of each ``_target_`` that isn't an interpolation."""
    for key, value in walk(node):
        if (
            key.rpartition(".")[2] == TARGET
            and isinstance(value, str)
            and value != "???"
            and "${" not in value
        ):
            yield key, value
