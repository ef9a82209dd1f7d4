"""Threads and GPUs of each worker."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from bert_ft.errors import SearchError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Slot:
    """A worker's share of the machine."""

    number: int  # from 0
    threads: int
    gpus: str | None = None  # value of CUDA_VISIBLE_DEVICES; None leaves it unchanged

    def take(self) -> None:
        """Limit this process to the slot; call before it computes anything or initializes CUDA."""
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, str(self.threads))
        if self.gpus is not None:
            os.environ[GPU_VARIABLE] = self.gpus
        # if torch was loaded before the fork, it has read the variables already
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(int(os.environ[THREAD_VARIABLES[0]]))


def divide(n_jobs: int, threads: int, gpus: list[str]) -> list[Slot]:
    """Return the slots of ``n_jobs`` workers; threads and GPUs in equal parts, or a GPU shared by several workers."""
    share, each = max(1, threads // n_jobs), len(gpus) // n_jobs
    if not gpus:
        return [Slot(number, share) for number in range(n_jobs)]
    own = [
        ",".join(gpus[number * each : (number + 1) * each]) or gpus[number % len(gpus)]
        for number in range(n_jobs)
    ]
    return [Slot(number, share, own[number]) for number in range(n_jobs)]


def usable_threads() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Return the GPUs that this process sees, without initializing CUDA, which wouldn't survive a fork."""
    chosen = os.environ.get(GPU_VARIABLE)
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]


def check_is_one_process() -> None:
    """Refuse a search in each of several processes: they would all search, and their trials would share one world.

    Raises:
        SearchError: this is one of several processes.
    """
    if "LOCAL_RANK" in os.environ:
        raise SearchError(
            f"LOCAL_RANK={os.environ['LOCAL_RANK']}: a search can't run as one of several processes; start it once, without "
            "torchrun, and give its trials trainer.devices"
        )
