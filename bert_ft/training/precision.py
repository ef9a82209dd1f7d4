"""Decide the precision of a run, and say where it differs from the requested one; Lightning would change it silently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHORT = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}
ON_CPU = {"16-mixed": "bf16-mixed", "16-true": "bf16-true"}


AUTO = "auto"
# compute capability of CUDA → precision: bfloat16 from Ampere on, float16 on the tensor cores of Volta and Turing
_HALF = (((8, 0), "bf16-mixed"), ((7, 0), "16-mixed"))


@dataclass(frozen=True)
class Precision:
    """Requested and effective precision, in Lightning's long names, with a sentence if they differ."""

    requested: str
    effective: str
    notice: str | None = None


def automatic_precision(capabilities: Sequence[tuple[int, int]]) -> int | str:
    """Return the value of ``trainer.precision=auto``: 16-bit mixed if all GPUs have it, otherwise 32.

    ``capabilities`` has a CUDA compute capability for each GPU; it is empty on a CPU.
    """
    for least, name in _HALF:
        if capabilities and min(capabilities) >= least:
            return name
    return 32


def effective_precision(requested: int | str, *, on_cpu: bool) -> Precision:
    """Return the precision that is used for ``trainer.precision=requested``."""
    name = SHORT.get(str(requested), str(requested))
    if on_cpu and name in ON_CPU:
        effective = ON_CPU[name]
        notice = f"trainer.precision={requested}: a CPU doesn't support float16; {effective} is used instead"
        return Precision(str(requested), effective, notice)
    return Precision(str(requested), name)
