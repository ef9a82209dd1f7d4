import subprocess
import sys

import pytest

from bert_ft.config.lean_imports import BY_THEMSELVES, DEFERRED

START = """
import sys
from bert_ft.config import lean_imports
lean_imports.defer_unused_imports()
import bert_ft.config.build
is_deferred = lambda name: isinstance(sys.modules[name], lean_imports._Deferred)
"""


def python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_start_up_executes_none_of_them():
    left = python(
        "print(*(name for name in lean_imports.DEFERRED if name in sys.modules and is_deferred(name)))"
    )
    assert {"torchmetrics", "torchmetrics.functional", "torch._dynamo"} <= set(left.split())


@pytest.mark.slow
def test_what_is_asked_for_is_the_librarys_own():
    python(
        """
import torch, torchmetrics
assert is_deferred("torchmetrics")
accuracy = torchmetrics.Accuracy(task="binary")  # no stand-in for it
assert not is_deferred("torchmetrics")
assert float(accuracy(torch.tensor([1, 0]), torch.tensor([1, 1]))) == 0.5
assert isinstance(accuracy, torchmetrics.Metric)
from torchmetrics.functional import accuracy as function
assert float(function(torch.tensor([1, 0]), torch.tensor([1, 1]), task="binary")) == 0.5
"""
    )


@pytest.mark.slow
def test_the_compiler_still_works():
    python(
        """
import torch
from lightning.pytorch.utilities.compile import OptimizedModule as stand_in
assert is_deferred("torch._dynamo")
assert not isinstance(torch.nn.Linear(1, 1), stand_in)
model = torch.compile(torch.nn.Linear(2, 2), backend="eager")
assert not is_deferred("torch._dynamo")
assert isinstance(model, stand_in)
assert model(torch.ones(1, 2)).shape == (1, 2)
"""
    )


@pytest.mark.slow
def test_a_submodule_executes_its_package_first():
    python(
        """
import torch._dynamo.utils
assert not is_deferred("torch._dynamo")
assert torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
assert torch._dynamo.utils.get_optimize_ddp_mode
"""
    )


@pytest.mark.slow
def test_an_unknown_name_is_an_attribute_error():
    python(
        """
import torchmetrics
try:
    torchmetrics.nonsense
except AttributeError as error:
    assert "nonsense" in str(error)
else:
    raise AssertionError
"""
    )


def test_modules_that_are_imported_already_stay():
    code = """
import torchmetrics
before = torchmetrics.Accuracy
from bert_ft.config.lean_imports import defer_unused_imports
defer_unused_imports(); defer_unused_imports()
import torchmetrics
assert torchmetrics.Accuracy is before
import sys
assert len([finder for finder in sys.meta_path if type(finder).__name__ == "_Finder"]) == 1
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFERRED)
def test_each_stand_in_is_a_name_that_the_module_has(name):
    """A stand-in for what a library no longer has would hide its error."""
    names = [other for other in DEFERRED[name] if other != "__version__"]
    code = f"import importlib; module = importlib.import_module({name!r}); [getattr(module, n) for n in {names!r}]"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_what_may_come_first_belongs_to_a_deferred_package():
    assert all(any(name.startswith(f"{package}.") for package in DEFERRED) for name in BY_THEMSELVES)
