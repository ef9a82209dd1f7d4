"""A name that one part writes and another reads is in one place."""

import ast
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import bert_ft
from bert_ft import layout

ROOT = Path(bert_ft.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if path.name != "layout.py"]
CONF = ROOT.parent / "conf"

NAMES = {name: value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)}
PREFIXES = {value for value in NAMES.values() if value.endswith("/")} | {layout.LEARNING_RATE}
OF_FILES = {value for name, value in NAMES.items() if name.endswith(("_FILE", "_DATABASE"))}
# words that mean something else elsewhere, such as a split, a column or a key of the configuration
OF_FOLDERS = {layout.CHECKPOINT_FOLDER, layout.TENSORBOARD_FOLDER, layout.HYDRA_FOLDER, layout.CSV_FOLDER}


def literals(source: str) -> set[str]:
    """The texts in the code, parts of f-strings included, without docstrings."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    }


def repeated(source: str) -> set[str]:
    """Literals that say again what ``layout`` says, whole or as the start of a tag or path."""
    starts = re.compile("|".join(map(re.escape, sorted(PREFIXES | {f"{name}/" for name in OF_FOLDERS}))))
    return {text for text in literals(source) if text in OF_FILES | OF_FOLDERS or starts.match(text)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_repeats_a_name(path):
    assert not repeated(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "code",
    [
        'log("train/grad_norm")',
        'log(f"weights/{layer}/norm")',
        'folder / "metrics.json"',
        'folder / "checkpoints"',
        'folder / ".hydra/config.yaml"',
    ],
)
def test_the_walk_finds_what_it_looks_for(code):
    assert repeated(code)


def test_conf_names_the_same_folders():
    settings = "\n".join(path.read_text(encoding="utf-8") for path in sorted(CONF.rglob("*.yaml")))
    folders = set(re.findall(r"\$\{output_dir\}/(\w+)", settings))
    assert folders == {layout.MONITOR_FOLDER, layout.CHECKPOINT_FOLDER}
    loggers = OmegaConf.load(CONF / "logger/default.yaml")
    assert {logger.name or logger.version for logger in loggers.values()} == {
        layout.TENSORBOARD_FOLDER,
        layout.CSV_FOLDER,
    }


def test_what_users_type_and_read_keeps_its_name():
    assert (layout.METRICS_FILE, layout.REPORT_FILE) == ("metrics.json", "report.html")
    assert (layout.MODEL_FOLDER, layout.CHECKPOINT_FOLDER) == ("model", "checkpoints")
    tags = ("val/loss", "test/loss", "train/grad_norm")
    assert tags == (layout.VAL_LOSS, layout.TEST_LOSS, layout.GRAD_NORM)
    assert layout.tag(layout.WEIGHTS, "layer.0", layout.NORM) == "weights/layer.0/norm"


def test_files_of_monitors_are_found_by_their_step(tmp_path):
    for step in (5, 20):
        (tmp_path / layout.monitor_file(layout.TOP_LOSSES, step)).touch()
    (tmp_path / "top_losses_5.txt").touch()
    assert layout.monitor_files(tmp_path, layout.TOP_LOSSES) == {
        5: tmp_path / "top_losses_5.json",
        20: tmp_path / "top_losses_20.json",
    }
