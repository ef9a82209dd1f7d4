"""Whole runs in the test's own process."""

import json
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from bert_ft.config.paths import conf_dir
from bert_ft.train import main

SMALL = [
    "data=files",
    "data.max_length=32",
    "data.batch_size=16",
    "encoder=any",
    "optimizer.lr=3e-3",
    "optimizer.head_lr=null",
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1",
]


def compose_run(folder: Path, *overrides: str):
    """The configuration of a run in ``folder``, as Hydra hands it to the task."""
    folder.mkdir(parents=True, exist_ok=True)
    with hydra.initialize_config_dir(config_dir=str(conf_dir()), job_name="train"):
        config = hydra.compose("train", list(overrides), return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)
    return config


def file_overrides(files: dict[str, Path]) -> list[str]:
    return [f"data.{name}_file={path}" for name, path in files.items()]


def train(folder: Path, encoder: Path, files: dict[str, Path], *overrides: str) -> tuple[float, dict]:
    """Run the main job; the objective and what ``metrics.json`` says."""
    config = compose_run(
        folder,
        *SMALL,
        *file_overrides(files),
        f"encoder.name_or_path={encoder}",
        f"data.cache_dir={folder / 'cache'}",
        *overrides,
    )
    objective = main(config)
    return objective, json.loads((folder / "metrics.json").read_text())
