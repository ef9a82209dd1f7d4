"""What each of the workers may use of the machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Slot:
    """A place where one trial at a time runs.

    Attributes:
        number: from 0.
        threads: how many it may use.
        gpus: those that it sees, as ``CUDA_VISIBLE_DEVICES`` names them; ``None`` leaves that as it is.
    """

    number: int
    threads: int
    gpus: str | None = None

    def take(self) -> None:
        """Limit this process to the slot; before it computes anything, and before it first asks for a GPU."""
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, str(self.threads))
        if self.gpus is not None:
            os.environ[GPU_VARIABLE] = self.gpus
        # it has been loaded before the fork, and read the variables then
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(int(os.environ[THREAD_VARIABLES[0]]))


def divide(n_jobs: int, threads: int, gpus: list[str]) -> list[Slot]:
    """The slots of ``n_jobs`` workers: threads in equal parts, GPUs too, or one for several workers in turn."""
    share = max(1, threads // n_jobs)
    if not gpus:
        return [Slot(number, share) for number in range(n_jobs)]
    if len(gpus) < n_jobs:
        return [Slot(number, share, gpus[number % len(gpus)]) for number in range(n_jobs)]
    each = len(gpus) // n_jobs
    return [
        Slot(number, share, ",".join(gpus[number * each : (number + 1) * each])) for number in range(n_jobs)
    ]


def usable_threads() -> int:
    """The processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, found without touching them: what CUDA has once begun can't be forked."""
    chosen = os.environ.get(GPU_VARIABLE)
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(sorted(Path("/dev").glob("nvidia[0-9]*")))]
