"""Record the environment of a run."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import torch
from lightning.pytorch import Trainer

from bert_ft.training.precision import Precision

PACKAGES = ("bert_ft", "torch", "lightning", "transformers", "torchmetrics", "datasets", "numpy")


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of each package that can change a run's numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def environment(trainer: Trainer, precision: Precision, seed: int) -> dict[str, Any]:
    """Return system, processor or GPUs, threads, processes, versions, precision and seed."""
    device = trainer.strategy.root_device
    found: dict[str, Any] = {
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": trainer.world_size,
    }
    if device.type == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return {
        **found,
        "versions": package_versions(),
        "precision": {"requested": precision.requested, "effective": precision.effective},
        "seed": seed,
    }


def processor() -> str:
    """Return the processor's name, or the architecture if the system doesn't have the name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
