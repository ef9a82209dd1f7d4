"""What rounding depends on: the processor, its kernels, and the versions of what computes. Printed as JSON.

Run by the interpreter that runs the cases, as a file of its own: ``python -P fingerprint.py``.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "lightning",
    "torchmetrics",
    "numpy",
    "optuna",
    "hydra-core",
)
# MKL and oneDNN choose kernels by maker and model, too, and oneDNN's blocks are as large as the model's caches
OF_PROCESSOR = ("vendor_id", "cpu family", "model")
KERNEL_FLAGS = ("sse", "ssse", "avx", "fma", "f16c", "amx", "bmi")
KERNEL_VARIABLES = ("ATEN_", "MKL_", "ONEDNN_", "DNNL_")


def fingerprint() -> dict[str, Any]:
    """Return what must be equal for results to be equal to the last bit."""
    import torch

    libraries = [line.strip(" -") for line in torch.__config__.show().splitlines()]
    return {
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "libraries": [line for line in libraries if line.startswith("Intel")],  # MKL and oneDNN
        "variables": sorted(
            f"{name}={value}" for name, value in os.environ.items() if name.startswith(KERNEL_VARIABLES)
        ),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _processor() -> dict[str, Any]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {"name": platform.processor() or platform.machine()}
    first = path.read_text().split("\n\n")[0]
    found = dict(line.split(":", 1) for line in first.splitlines())
    fields = {name.strip(): value.strip() for name, value in found.items()}
    flags = sorted(flag for flag in fields.get("flags", "").split() if flag.startswith(KERNEL_FLAGS))
    return {name: fields.get(name) for name in OF_PROCESSOR} | {"flags": flags}


if __name__ == "__main__":
    package = importlib.util.find_spec("bert_ft")
    print(json.dumps({"fingerprint": fingerprint(), "package": None if package is None else package.origin}))
