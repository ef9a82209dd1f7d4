"""What a run ran on, for its record."""

import platform
from importlib.metadata import version

PACKAGES = ("bert_ft", "torch", "lightning", "transformers", "torchmetrics", "datasets")


def package_versions() -> dict[str, str]:
    """Python's version and that of each package that can change a run's numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
