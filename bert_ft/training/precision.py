"""Decide the precision of a run, and say where it differs from the requested one; Lightning would change it silently."""

from __future__ import annotations

from dataclasses import dataclass

SHORT = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}
ON_CPU = {"16-mixed": "bf16-mixed", "16-true": "bf16-true"}


@dataclass(frozen=True)
class Precision:
    """Requested and effective precision, in Lightning's long names, with a sentence if they differ."""

    requested: str
    effective: str
    notice: str | None = None


def effective_precision(requested: int | str, *, on_cpu: bool) -> Precision:
    """Return the precision that is used for ``trainer.precision=requested``."""
    name = SHORT.get(str(requested), str(requested))
    if on_cpu and name in ON_CPU:
        effective = ON_CPU[name]
        notice = f"trainer.precision={requested}: a CPU doesn't support float16; {effective} is used instead"
        return Precision(str(requested), effective, notice)
    return Precision(str(requested), name)
