"""What the package imports is what it declares."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import bert_ft

ROOT = Path(bert_ft.__file__).parent
PROJECT = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT.parent / "constraints.txt").read_text(encoding="utf-8")
# imported name → name of its package, where they differ
PACKAGES = {
    "hydra": "hydra-core",
    "hydra_plugins": "hydra-optuna-sweeper",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
OPTIONAL = {"onnxruntime": "onnx"}  # imported name → extra
# imported by others: hydra.sweeper.callbacks names classes of the first, transformers reads tokenizers with the second and third
INDIRECT = {"optuna-integration", "sentencepiece", "protobuf"}


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", requirement)[0].lower() for requirement in requirements}


def imported() -> set[str]:
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {ROOT.name}


def test_what_is_imported_is_declared_and_nothing_else():
    needed = {PACKAGES.get(name, name) for name in imported() - OPTIONAL.keys()}
    assert needed | INDIRECT == names(PROJECT["dependencies"])


@pytest.mark.parametrize(("name", "extra"), OPTIONAL.items())
def test_what_may_be_missing_is_in_an_extra(name, extra):
    assert name in names(PROJECT["optional-dependencies"][extra])


def test_each_dependency_has_its_tested_version():
    pinned = names(re.findall(r"^[\w-]+(?===)", CONSTRAINTS, flags=re.M))
    assert names(PROJECT["dependencies"]) <= pinned
