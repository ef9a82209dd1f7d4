"""Commands of the package that the environment's ``PYTHONPATH`` names, in processes of one thread."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
REMOVED = ("PL_", "BERT_FT_", "HYDRA_")  # settings that a process may have left for its children
TIMEOUT_SECONDS = 600


def environment() -> dict[str, str]:
    """Return the environment of the commands: one thread, no network, no GPU."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(REMOVED)}
    fixed = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    return kept | dict.fromkeys(THREADS, "1") | fixed


def run(arguments: list[str], folder: Path) -> str:
    """Run ``python`` with ``arguments`` in ``folder`` and return what it prints.

    Raises:
        RuntimeError: it failed; the message has its output.
    """
    # in a folder of its own, so that PYTHONPATH alone says which package it is
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    if done.returncode:
        command = " ".join(arguments)
        raise RuntimeError(f"python {command}\n{done.stdout}\n{done.stderr}\nexit code {done.returncode}")
    return done.stdout


def surroundings(folder: Path) -> dict[str, Any]:
    """Return the ``fingerprint`` of the commands' processes, and the file of the ``package`` that they run.

    Raises:
        RuntimeError: torch uses more than one thread.
    """
    script = Path(__file__).with_name("fingerprint.py").absolute()
    found = json.loads(run(["-P", str(script)], folder))
    threads = found["fingerprint"]["threads"]
    if threads != 1:
        raise RuntimeError(f"torch uses {threads} threads; the record is of one")
    return found
