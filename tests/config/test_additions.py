"""A pooling, a schedule and a command are added in one code file and at most one yaml; nothing in ``config/`` changes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bert_ft
from bert_ft.config.paths import conf_dir
from tests.training.running import SMALL, file_overrides

POOLING = '''class LastPooling(nn.Module):
    """The last token of each sequence."""

    def forward(self, hidden: Tensor, cu_seqlens: Tensor) -> Tensor:
        return hidden[cu_seqlens[1:] - 1]


'''
SCHEDULE = '''

@dataclass(frozen=True, kw_only=True)
class Polynomial(Schedule):
    """Down to 0 on a power of what is left."""

    power: Positive = 2.0

    def _after_warmup(self, warmup_steps: int, total_steps: int) -> Callable[[int], float]:
        return lambda step: ((total_steps - step) / max(1, total_steps - warmup_steps)) ** self.power
'''
COMMAND = """from omegaconf import DictConfig

from bert_ft.config.entry import entry_point
from bert_ft.limits import Count


class Keys:
    times: Count


@entry_point("greet", keys=Keys)
def main(config: DictConfig) -> None:
    print("hello " * config.times)


if __name__ == "__main__":
    main()
"""
GREET = """defaults:
  - _self_
  - override hydra/job_logging: stdout
times: 1
hydra:
  output_subdir: null
  run:
    dir: .
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the package and its ``conf``, with the additions."""
    folder = tmp_path_factory.mktemp("checkout")
    package = Path(bert_ft.__file__).parent
    shutil.copytree(package, folder / "bert_ft", ignore=shutil.ignore_patterns("__pycache__", "conf"))
    shutil.copytree(conf_dir(), folder / "conf")
    pooling = folder / "bert_ft/nn/pooling.py"
    registry = "WITHOUT_WEIGHTS: "
    text = pooling.read_text("utf-8")
    assert text.count(registry) == text.count('"cls": ClsPooling,') == 1
    text = text.replace(registry, POOLING + registry)
    pooling.write_text(text.replace('"cls": ClsPooling,', '"cls": ClsPooling, "last": LastPooling,'), "utf-8")
    schedules = folder / "bert_ft/optim/schedules.py"
    text = schedules.read_text("utf-8") + SCHEDULE
    schedules.write_text(text.replace("bert_ft.limits import ", "bert_ft.limits import Positive, "), "utf-8")
    (folder / "conf/schedule/polynomial.yaml").write_text(
        "defaults: [_warmup, _self_]\n_target_: bert_ft.optim.schedules.Polynomial\npower: 2.0\n"
    )
    (folder / "bert_ft/greet.py").write_text(COMMAND)
    (folder / "conf/greet.yaml").write_text(GREET)
    return folder


def run(checkout: Path, module: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "BERT_FT_CACHE": str(checkout / "cache")}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300)


def test_the_check_knows_them(checkout):
    done = run(
        checkout,
        "bert_ft.train",
        "schedule=polynomial",
        "schedule.power=0",
        "model.pooling=lst",
        "pretrain=mlm",
        "pretrain.pooling=attention",
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "3 problems in the configuration:",
        "  model.pooling=lst: must be one of cls, last, mean, max, attention or a class of your own ({_target_: ...})",
        "  schedule.power=0: must be a number > 0",
        "  pretrain.pooling=attention: must be one of cls, last, mean, max",
    ]


def test_a_command_has_its_own_keys(checkout):
    assert run(checkout, "bert_ft.greet", "times=2").stdout == "hello hello \n"
    assert run(checkout, "bert_ft.greet", "times=0").stderr == "times=0: must be an integer ≥ 1\n"


@pytest.mark.slow
def test_they_train(checkout, tiny_encoder, reviews):
    small = [*SMALL, *file_overrides(reviews), f"encoder.name_or_path={tiny_encoder}", "trainer.max_epochs=1"]
    chosen = ["schedule=polynomial", "schedule.power=3", "model.pooling=last", "hydra.run.dir=run"]
    done = run(checkout, "bert_ft.train", *small, *chosen)
    assert done.returncode == 0, done.stderr
    settings = json.loads((checkout / "run/metrics.json").read_text())
    assert 0 <= settings["test"]["accuracy"] <= 1
    assert json.loads((checkout / "run/model/config.json").read_text())["encoder"]["id2label"]
