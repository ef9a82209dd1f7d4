"""A run's folder is that of its configuration's copy, and where Hydra runs no job it is all that says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from bert_ft.config.build.folder import writing_to
from bert_ft.config.paths import conf_dir
from tests.training.running import SMALL, SMALL_STAGE, file_overrides

CHECKOUT = Path(__file__).parents[3]


def compose(*overrides):
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        return hydra.compose("train", list(overrides))


def test_the_copy_writes_to_the_folder_and_the_original_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = compose()
    copy = writing_to(config, Path("new/run"))
    folder = tmp_path / "new/run"
    assert folder.is_dir()
    assert copy.output_dir == copy.logger.csv.save_dir == str(folder)
    assert copy.callbacks.best_checkpoint.dirpath == str(folder / "checkpoints")
    assert OmegaConf.to_container(config, resolve=False)["output_dir"] == "${hydra:runtime.output_dir}"


def test_a_configuration_without_the_key_gets_it(tmp_path):
    config = OmegaConf.create({"logger": {"csv": {"save_dir": "${output_dir}/csv"}}})
    OmegaConf.set_struct(config, True)
    assert writing_to(config, tmp_path).logger.csv.save_dir == f"{tmp_path}/csv"


# what a script does that knows no job of Hydra's
SCRIPT = """
import json, sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig

from bert_ft.config.build.fine_tuning import build_fine_tuning
from bert_ft.config.build.pretraining import build_pretraining
from bert_ft.config.check import problems
from bert_ft.config.paths import conf_dir

for build, name, overrides in (
    (build_fine_tuning, "train", json.loads(sys.argv[1])),
    (build_pretraining, "pretrain", json.loads(sys.argv[2])),
):
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        config = hydra.compose(name, overrides)
    assert problems(config) == []
    build(config, Path("runs") / name).run()
    assert not HydraConfig.initialized()
"""


@pytest.mark.slow
def test_both_stages_run_from_python_without_a_job_of_hydras(tmp_path, tiny_encoder, reviews):
    shared = [
        *file_overrides(reviews),
        f"encoder.name_or_path={tiny_encoder}",
        f"data.cache_dir={tmp_path / 'cache'}",
        *SMALL_STAGE,
        "pretrain=mlm",
        "pretrain.trainer.max_epochs=1",
        "pretrain.num_cached=0",
    ]
    whole = [*SMALL, "monitor=full", *shared, "trainer.max_epochs=1"]
    not_its = ("data.batch_size", "optimizer.", "trainer.min_train_steps")
    alone = [setting for setting in SMALL if not setting.startswith(not_its)] + shared
    subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(whole), json.dumps(alone)],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    run, stage = tmp_path / "runs/train", tmp_path / "runs/pretrain"
    logged = {"metrics.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "csv/version_0/metrics.csv"}
    for folder in (run, run / "pretraining", stage):
        found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
        assert logged | {"model/model.safetensors", "tensorboard"} <= found, folder
    assert {path.suffix for path in (run / "monitor").iterdir()} >= {".npz", ".json"}
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "runs"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["checkpoint"]["path"] == "checkpoints/best.ckpt"
    assert metrics["pretraining"]["val"] == json.loads((stage / "metrics.json").read_text())["val"]
