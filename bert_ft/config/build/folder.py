"""Where a run writes, as its configuration has it, and where a stage inside of it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from bert_ft import layout
from bert_ft.config.instantiate import build_callback


def writing_to(config: DictConfig, folder: Path) -> DictConfig:
    """Return a copy of the configuration whose ``output_dir`` is the folder, which is made if it isn't there.

    Nothing of the configuration may have been resolved before: as composed, ``output_dir`` is what Hydra makes for a job.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = config.copy()
    with open_dict(config):  # a configuration of the user's own may come without the key
        config.output_dir = str(folder.absolute())
    return config


def in_folder(key: str, node: DictConfig, folder: Path, config: DictConfig) -> Any:
    """Build a logger or callback, which writes into a stage's folder where it would have written into the run's."""
    places = {}
    if "save_dir" in node and Path(node.save_dir) == Path(config.output_dir):
        places["save_dir"] = str(folder)
    if "dirpath" in node and node.dirpath is None:
        places["dirpath"] = str(folder / layout.CHECKPOINT_FOLDER)
    return build_callback(key, node, **places)
