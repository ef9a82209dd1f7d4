"""The worked examples of the page on own classes, and of a data page's tokenizers: files and commands, as shown."""

import csv
import json
import os
import re
import shlex
import shutil
import sqlite3
from pathlib import Path

import pytest
import yaml

from tests import commands
from tests.pages import text_of

from .running import SMALL, SMALL_STAGE, file_overrides

SECTION = text_of("own_classes") + text_of("data").split("## Tokenization")[1]
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
    environment = {**os.environ, "BERT_FT_CACHE": str(folder / "cache")}
    done = commands.run(module, *arguments, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr


def command_with(text: str) -> list[str]:
    """The arguments of the only command with that text."""
    (arguments,) = [arguments for _, arguments in COMMANDS if text in arguments]
    return shlex.split(arguments)


def test_it_has_these_files_and_commands():
    assert [name for name, _ in FILES] == [
        "my_package/parts.py",
        "my_conf/model/mine.yaml",
        "my_package/attention.py",
        "my_package/layers.py",
        "my_package/augmentation.py",
        "my_package/sources.py",
        "my_conf/data/reviews.yaml",
    ]
    assert [module for module, _ in COMMANDS].count("bert_ft.predict") == 1
    assert len(COMMANDS) == 9


def test_the_commands_run(folder, tiny_encoder, reviews):
    small = [*SMALL, *file_overrides(reviews), f"encoder.name_or_path={tiny_encoder}", "trainer.max_epochs=2"]
    (_, first), (_, predict), (_, second), (_, third) = COMMANDS[:4]
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


def predicts(folder: Path, name: str, files: dict[str, Path], metrics: dict) -> None:
    """The command line reaches the reported accuracy from the saved folder."""
    arguments = [f"bundle={name}/model", f"input={files['test']}", f"output={name}.csv"]
    run(folder, "bert_ft.predict", "trust=[my_package.*]", *arguments)
    with (folder / f"{name}.csv").open() as file:
        right = [row["prediction"] == row["label"] for row in csv.DictReader(file)]
    assert sum(right) / len(right) == pytest.approx(metrics["test"]["accuracy"], abs=1e-6)


def trains(folder: Path, name: str, *arguments: str) -> dict:
    run(folder, "bert_ft.train", *arguments, f"hydra.run.dir={name}")
    return json.loads((folder / name / "metrics.json").read_text())


def test_a_layer(folder, tiny_encoder, reviews):
    small = [*SMALL, *file_overrides(reviews), f"encoder.name_or_path={tiny_encoder}"]
    metrics = trains(folder, "layer", *command_with("Adapter"), *small, "encoder.freeze_layers=2")
    saved = yaml.safe_load((folder / "layer/model/bert_ft.yaml").read_text())["inserted"]
    assert saved["ffn"] == {"_target_": "my_package.layers.Adapter", "size": 32}
    predicts(folder, "layer", reviews, metrics)


def test_an_augmentation(folder, tiny_encoder, reviews):
    small = [*SMALL, *file_overrides(reviews), f"encoder.name_or_path={tiny_encoder}"]
    metrics = trains(folder, "augmentation", *command_with("Crop"), *small)
    assert metrics["test"]["accuracy"] > 0.6
    predicts(folder, "augmentation", reviews, metrics)


def test_a_source(folder, tiny_encoder, reviews):
    with reviews["train"].open() as file, sqlite3.connect(folder / "reviews.db") as database:
        database.execute("CREATE TABLE reviews (text, label)")
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
        database.executemany("INSERT INTO reviews VALUES (?, ?)", rows)
    small = [setting for setting in SMALL if setting != "data=files"]
    metrics = trains(
        folder, "source", *command_with("data=reviews"), *small, f"encoder.name_or_path={tiny_encoder}"
    )
    assert metrics["test"]["accuracy"] > 0.6
    run(
        folder,
        "bert_ft.predict",
        "trust=[my_package.*]",
        "bundle=source/model",
        f"input={reviews['test']}",
        "output=source.csv",
    )
    assert len((folder / "source.csv").read_text().splitlines()) == 41


def test_tokens(folder, tiny_encoder, reviews):
    small = [*SMALL, *file_overrides(reviews), f"encoder.name_or_path={tiny_encoder}"]
    metrics = trains(folder, "tokens", *command_with("added_tokens"), *small)
    assert {"covid19", "<url>"} <= {
        token["content"]
        for token in json.loads((folder / "tokens/model/tokenizer.json").read_text())["added_tokens"]
    }
    predicts(folder, "tokens", reviews, metrics)
    (folder / "my_tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / "tokens/model" / name, folder / "my_tokenizer")
    another = command_with("my_tokenizer")
    trains(folder, "another", *another, *small, "debug=fast", *SMALL_STAGE)
    assert (folder / "another/pretraining/metrics.json").exists()
