"""Location of the shipped configuration."""

from pathlib import Path

import bert_ft


def conf_dir() -> Path:
    """Return the folder ``conf``: inside the package if installed, next to it in a checkout."""
    package = Path(bert_ft.__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"
