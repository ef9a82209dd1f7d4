"""The other processes of a sweep's job (``trainer.devices=2``): Lightning starts them with the command of the sweep.

They would sweep again, each on its own. So while a job runs, the command is that of the job alone.
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
    """Inside, this process has the command that runs its job, ``python -m <module>`` with the job's configuration."""
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
    # that of a launcher's worker is the launcher's
    main.__spec__ = importlib.machinery.ModuleSpec(module, None)
    with read_write(hydra), open_dict(hydra):
        hydra.run.dir = str(folder)  # Lightning hands it on
    try:
        yield
    finally:
        sys.argv, main.__spec__ = before
