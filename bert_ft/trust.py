"""Which classes a configuration or a saved folder may name: a file from a stranger can't run os.system."""

from __future__ import annotations

import re
from collections.abc import Iterable

TARGET = "_target_"  # names a class, in Hydra's way
# Patterns are Hydra's: a full name, or a package and `.*` for all that is in it.
PATTERN = re.compile(r"[^\W\d]\w*(\.\w+)*(\.\*)?")
IN_CONFIGURATIONS = ("bert_ft.*", "lightning.pytorch.*", "torch.nn.*", "torch.optim.*", "torchmetrics.*")
IN_MODELS = ("bert_ft.*", "torch.nn.*")


def is_trusted(target: str, patterns: Iterable[str]) -> bool:
    """Whether ``target``, the full name of a class, has one of the patterns."""
    return any(
        target.startswith(pattern[:-1]) if pattern.endswith(".*") else target == pattern
        for pattern in patterns
    )


def refusal(key: str, target: str) -> str:
    """What is wrong with a name that isn't trusted, and what to do."""
    package = target.rpartition(".")[0] or target
    return f"{key}={target}: isn't among the trusted classes; if it is your own, add trust=[{package}.*]"
