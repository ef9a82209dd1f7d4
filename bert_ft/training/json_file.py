"""Write a run's records as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bert_ft.atomic_file import write


def _without_nan(values: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, by ``None``: a diverged run has them."""
    if isinstance(values, dict):
        return {key: _without_nan(value) for key, value in values.items()}
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, NaN and infinity as ``null``."""
    text = json.dumps(_without_nan(content), indent=2, ensure_ascii=False, allow_nan=False)
    write(path, f"{text}\n".encode())
