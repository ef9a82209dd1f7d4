"""The other processes of a sweep's job run the job, and not the sweep."""

import sys

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.fabric.strategies.launchers.subprocess_script import _hydra_subprocess_cmd
from omegaconf import OmegaConf

from bert_ft.config.ranks import command_of_the_job


def test_lightning_starts_the_job(tmp_path, monkeypatch):
    config = {
        "mode": RunMode.MULTIRUN,
        "run": {"dir": "outputs"},
        "runtime": {"output_dir": str(tmp_path / "3"), "cwd": str(tmp_path)},
        "output_subdir": ".hydra",
        "overrides": {"task": ["optimizer.lr=0.1", "trust=[mine.*]"]},
    }
    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": config}))
    OmegaConf.set_readonly(HydraConfig.instance().cfg, True)
    monkeypatch.setattr(sys, "argv", ["train.py", "--multirun", "optimizer.lr=interval(0,1)"])
    before = sys.modules["__main__"].__spec__
    with command_of_the_job("bert_ft.train"):
        command, _ = _hydra_subprocess_cmd(local_rank=1)
    assert command[1:] == [
        "-m",
        "bert_ft.train",
        f"--config-path={tmp_path}/3/.hydra",
        "--config-name=config",
        "trust=[mine.*]",
        f'hydra.run.dir="{tmp_path}/3"',
        "hydra.job.name=train_ddp_process_1",
        "hydra.output_subdir=null",
    ]
    assert sys.argv[1] == "--multirun"
    assert sys.modules["__main__"].__spec__ is before
