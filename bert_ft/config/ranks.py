"""The other processes of a sweep's job (``trainer.devices=2``), which Lightning would start with the command of the sweep.

Each of them would run the sweep again. So while a job runs, the command is replaced by one for this job only.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import open_dict, read_write

from bert_ft import layout


@contextmanager
def command_of_the_job(module: str) -> Iterator[None]:
    """Replace the command inside the context by one for this job only: ``python -m <module>`` with its configuration."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        yield
        return
    hydra: Any = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    config = folder / str(hydra.output_subdir)
    main = sys.modules["__main__"]
    before = sys.argv, main.__spec__
    typed = [str(word) for word in hydra.overrides.task if str(word).startswith("trust=")]
    words = [f"--config-path={config}", f"--config-name={Path(layout.CONFIG_FILE).stem}", *typed]
    sys.argv = [sys.argv[0], *words]
    # a launcher's worker has the launcher's command
    main.__spec__ = importlib.machinery.ModuleSpec(module, None)
    with read_write(hydra), open_dict(hydra):
        hydra.run.dir = str(folder)  # Lightning passes it on
    try:
        yield
    finally:
        sys.argv, main.__spec__ = before
