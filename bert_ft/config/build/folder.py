"""Set where a run writes, and where a stage inside it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from bert_ft import layout
from bert_ft.atomic_file import write
from bert_ft.config.instantiate import build_callback


def writing_to(config: DictConfig, folder: Path) -> DictConfig:
    """Return a copy of the configuration whose ``output_dir`` is the folder, and create the folder if needed.

    The configuration must not have been resolved: as composed, ``output_dir`` refers to the folder of a Hydra job.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = config.copy()
    with open_dict(config):  # a user's configuration may lack the key
        config.output_dir = str(folder.absolute())
    return config


def in_folder(key: str, node: DictConfig, folder: Path, config: DictConfig) -> Any:
    """Build a logger or callback that writes to the stage's folder instead of the run's."""
    places = {}
    if "save_dir" in node and Path(node.save_dir) == Path(config.output_dir):
        places["save_dir"] = str(folder)
    if "dirpath" in node and node.dirpath is None:
        places["dirpath"] = str(folder / layout.CHECKPOINT_FOLDER)
    return build_callback(key, node, **places)


def record_setting(folder: Path, key: str, value: Any) -> None:
    """Set a derived value in the configuration file that Hydra wrote to the run's folder, if there is one."""
    path = folder / layout.CONFIG_FILE
    if path.is_file():
        recorded = OmegaConf.load(path)
        OmegaConf.update(recorded, key, value)
        write(path, OmegaConf.to_yaml(recorded).encode())
