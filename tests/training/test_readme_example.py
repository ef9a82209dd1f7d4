"""README's worked example of own classes: its files and its commands, as they stand there."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .running import SMALL, file_overrides

README = Path(__file__).parents[2] / "README.md"
SECTION = re.search(
    r"^### Your own classes$.*?(?=^## )", README.read_text("utf-8"), re.MULTILINE | re.DOTALL
)[0]
FILES = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", SECTION, re.DOTALL)
COMMANDS = re.findall(r"^python -m (\S+) (.*)$", SECTION.replace("\\\n", " "), re.MULTILINE)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    for name, content in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def run(folder: Path, module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "BERT_FT_CACHE": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_it_has_three_files_and_four_commands():
    names = ["my_package/parts.py", "my_conf/model/mine.yaml", "my_package/attention.py"]
    assert [name for name, _ in FILES] == names
    modules = ["bert_ft.train", "bert_ft.predict", "bert_ft.train", "bert_ft.train"]
    assert [module for module, _ in COMMANDS] == modules


def test_the_commands_run(folder, tiny_encoder, reviews):
    small = [*SMALL, *file_overrides(reviews), f"encoder.name_or_path={tiny_encoder}", "trainer.max_epochs=2"]
    (_, first), (_, predict), (_, second), (_, third) = COMMANDS
    run(folder, "bert_ft.train", *shlex.split(first), *small, "hydra.run.dir=first")
    metrics = json.loads((folder / "first/metrics.json").read_text())
    assert metrics["objective"] == {"metric": "val/kappa", "value": metrics["val"]["kappa"]}
    assert metrics["test"]["accuracy"] > 0.6

    ours = {"bundle": "first/model", "input": str(reviews["test"])}
    arguments = dict(argument.split("=", 1) for argument in shlex.split(predict)) | ours
    run(folder, "bert_ft.predict", *(f"{key}={value}" for key, value in arguments.items()))
    assert len((folder / "y.csv").read_text().splitlines()) == 41

    run(folder, "bert_ft.train", *shlex.split(second), *small, "hydra.run.dir=second", "debug=fast")
    for name in ("first", "second"):
        specification = yaml.safe_load((folder / name / "model/bert_ft.yaml").read_text())
        own = {"_target_": "my_package.parts.FirstAndMean", "share": 0.25}
        assert specification["architecture"]["pooling"] == own

    run(folder, "bert_ft.train", *shlex.split(third), *small, "hydra.run.dir=third", "debug=fast")
    saved = yaml.safe_load((folder / "third/model/bert_ft.yaml").read_text())
    assert saved["attention"] == "my_package.attention.near"
