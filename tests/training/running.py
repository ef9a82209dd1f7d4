"""Whole runs in the test's own process."""

import json
from collections.abc import Sequence
from pathlib import Path

import hydra
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from bert_ft.config.paths import conf_dir
from bert_ft.data.prepare import prepare
from bert_ft.data.sources import Files
from bert_ft.models.bundle import load_bundle
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.train import main
from bert_ft.training.module import ClassificationModule
from tests.several_processes import in_two

SMALL = [
    "data=files",
    "data.max_length=32",
    "data.batch_size=16",
    "encoder=any",
    "optimizer.lr=3e-3",
    "optimizer.head_lr=null",
    "trainer.accelerator=cpu",  # a GPU has tests of its own
    "trainer.enable_progress_bar=false",
    "monitor=none",  # what is watched has tests of its own
    "report=false",
    "advice=false",
    "keep=all",  # tests read the checkpoints
    "trainer.min_train_steps=0",  # three epochs
    "trainer.log_every_n_steps=1",
]


# the stage before it
SMALL_STAGE = [
    "pretrain.batch_size=16",
    "pretrain.optimizer.lr=3e-3",
    "pretrain.optimizer.head_lr=null",
    "pretrain.trainer.min_train_steps=0",
]


def compose_run(folder: Path, *overrides: str, job: str = "train"):
    """The configuration of a run in ``folder``, as Hydra hands it to the task."""
    folder.mkdir(parents=True, exist_ok=True)
    with hydra.initialize_config_dir(config_dir=str(conf_dir()), job_name=job):
        config = hydra.compose(job, list(overrides), return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)
    return config


def file_overrides(files: dict[str, Path]) -> list[str]:
    return [f"data.{name}_file={path}" for name, path in files.items()]


def small_run(folder: Path, encoder: Path, files: dict[str, Path], *overrides: str):
    """The configuration of a small run on ``files``; see ``compose_run``."""
    return compose_run(
        folder,
        *SMALL,
        "calibrate=false",  # has tests of its own; others compare the saved weights with the checkpoint's
        *file_overrides(files),
        f"encoder.name_or_path={encoder}",
        f"data.cache_dir={folder / 'cache'}",
        *overrides,
    )


def reloaded(folder: Path, files: dict[str, Path], split: str, *, trust: Sequence[str] = ()):
    """The bundle in the folder that a run saved, and a split of ``files`` as that reads it."""
    bundle = load_bundle(folder / "model", trust=trust)
    data = prepare(
        Files(**{f"{name}_file": str(path) for name, path in files.items()}).load(folder / "reloaded"),
        bundle.tokenizer,
        max_length=bundle.max_length,
        task=SingleLabel(),
        seed=0,
        cache_dir=folder / "reloaded",
    )
    return bundle, data.splits[split]


def reloaded_logits(
    folder: Path, files: dict[str, Path], split: str, *, trust: Sequence[str] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of a split, row by row from the folder that a run saved."""
    bundle, data = reloaded(folder, files, split, trust=trust)
    with torch.no_grad():
        logits = torch.cat([bundle.classifier(data[row]) for row in range(len(data))])
    return logits, torch.from_numpy(data.labels)


def train(folder: Path, encoder: Path, files: dict[str, Path], *overrides: str) -> tuple[float, dict]:
    """Run the main job; the objective and what ``metrics.json`` says."""
    objective = main(small_run(folder, encoder, files, *overrides))
    return objective, json.loads((folder / "metrics.json").read_text())


def interrupted(monkeypatch, hook, condition, folder, *arguments):
    """The run broken off in ``hook`` when ``condition`` of the module holds; its last checkpoint."""

    def break_off(module, *_):
        if condition(module):
            raise RuntimeError("broken off")

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationModule, hook, break_off)
        with pytest.raises(RuntimeError, match="broken off"):
            train(folder, *arguments)
    return folder / "checkpoints/last.ckpt"


def train_in_two(folder: Path, encoder: Path, files: dict[str, Path], *overrides: str) -> str:
    """The main job in two processes; what they wrote to stderr."""
    two = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]
    config = small_run(folder, encoder, files, *two, *overrides)
    return in_two(lambda rank: main(config), folder)


def small_stage(folder: Path, encoder: Path, files: dict[str, Path], *overrides: str):
    """The configuration of a small pre-training stage alone; see ``compose_run``."""
    of_training = ("data.batch_size", "optimizer.", "trainer.min_train_steps")
    return compose_run(
        folder,
        *(setting for setting in SMALL if not setting.startswith(of_training)),
        *SMALL_STAGE,
        *file_overrides(files),
        f"encoder.name_or_path={encoder}",
        f"data.cache_dir={folder / 'cache'}",
        *overrides,
        job="pretrain",
    )
