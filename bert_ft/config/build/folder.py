"""The folder that a run writes to, as its configuration has it."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, open_dict


def writing_to(config: DictConfig, folder: Path) -> DictConfig:
    """Return a copy of the configuration whose ``output_dir`` is the folder, which is made if it isn't there.

    Nothing of the configuration may have been resolved before: as composed, ``output_dir`` is what Hydra makes for a job.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = config.copy()
    with open_dict(config):  # a configuration of the user's own may come without the key
        config.output_dir = str(folder.absolute())
    return config
