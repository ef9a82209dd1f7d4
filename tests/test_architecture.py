"""Imports run downward only, and each heavy library stays in its layer (shared decisions of the design)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bert_ft

ROOT = Path(bert_ft.__file__).parent

# layer → the layers that it may import
BELOW = {
    "errors": set(),
    "data": {"errors"},
    "nn": {"errors"},
    "optim": {"errors"},
    "trust": set(),
    "drawing": set(),
    "reporting": {"errors", "drawing"},
    "models": {"errors", "trust", "data", "nn", "optim"},
    "inference": {"errors", "data", "nn", "optim", "models"},
    "training": {"errors", "data", "nn", "optim", "models"},
    "search": {"errors", "drawing", "reporting"},  # the pictures and the page of a study
    "callbacks": {"errors", "data", "nn", "optim", "models", "training", "search"},
    "config": {"errors", "trust", "data", "nn", "optim", "models", "training", "callbacks"},
}
# library → the layers that may import it; entry points may import any
HOMES = {
    "lightning": {"training", "callbacks", "config"},
    "torchmetrics": {"training", "callbacks", "config"},
    "hydra": {"config", "search"},
    "omegaconf": {"config", "search"},
    "optuna": {"search"},
    "matplotlib": {
        "drawing",
        "reporting",
        "search",
    },  # reporting, search: a type, and the reader of its own pictures
    "jinja2": {"reporting"},
    "tensorboard": {"reporting"},
    "sklearn": {"nn", "reporting"},
}
TRANSFORMERS = {"models", "training"}  # training: a type only
TRANSFORMERS_FILES = {"data/tokenization.py", "data/prepare.py"}

FILES = sorted(ROOT.rglob("*.py"))


def layer(path: Path) -> str | None:
    """The layer that a file belongs to; None for entry points and the package itself."""
    parts = path.relative_to(ROOT).parts
    name = parts[0].removesuffix(".py")
    return name if name in BELOW else None


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def test_every_folder_has_its_layer():
    folders = {path.relative_to(ROOT).parts[0] for path in FILES if path.parent != ROOT}
    assert folders <= BELOW.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path):
    here = layer(path)
    if here is None:
        return
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "bert_ft" and rest:
            target = rest.split(".")[0]
            assert target == here or target in BELOW[here], f"{here} imports {name}"
        if package in HOMES:
            assert here in HOMES[package], f"{here} imports {name}"
        if package == "transformers" and str(path.relative_to(ROOT)) not in TRANSFORMERS_FILES:
            assert here in TRANSFORMERS, f"{here} imports {name}"


@pytest.mark.parametrize("path", [path for path in FILES if layer(path) is None], ids=lambda path: path.name)
def test_entry_points_import_nothing_heavy_at_the_top(path):
    """``--help`` and ``--cfg job`` answer at once: what is heavy is imported inside ``main``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    allowed = {"bert_ft.config.entry", "omegaconf", "hydra", "__future__"}
    assert set(top) <= allowed


def test_only_one_file_instantiates():
    callers = [path for path in FILES if "hydra.utils" in set(imports(path))]
    # samplers and pruners are Optuna's, and custom_search_space is a function: Hydra's sweeper gets them as the official one
    assert {str(path.relative_to(ROOT)) for path in callers} == {
        "config/instantiate.py",
        "search/drawing.py",
        "search/samplers.py",
    }


def test_importing_the_package_imports_nothing():
    assert not list(imports(ROOT / "__init__.py"))
