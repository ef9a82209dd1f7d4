import subprocess
import sys

import pytest

from bert_ft.config.lean_imports import BY_THEMSELVES, DEFERRED

START = """
import os, sys, traceback
from bert_ft.config import lean_imports
lean_imports.defer_unused_imports()
import bert_ft.config.build.fine_tuning
is_deferred = lambda name: isinstance(sys.modules[name], lean_imports._Deferred)
for code in sys.argv[1:]:  # each in a process as it is now: the imports take seconds
    if not (pid := os.fork()):
        try:
            exec(code, globals())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
AFTER_START_UP = {
    "start-up executes none of them": """
imported = {name for name in lean_imports.DEFERRED if name in sys.modules}
left = {name for name in imported if is_deferred(name)}
assert left >= {"torchmetrics", "torch._dynamo"}, left
assert "torchmetrics.functional" not in imported - left  # a task imports it when a validation is looked at
""",
    "what is asked for is the library's own": """
import torch, torchmetrics
assert is_deferred("torchmetrics")
accuracy = torchmetrics.Accuracy(task="binary")  # no stand-in for it
assert not is_deferred("torchmetrics")
assert float(accuracy(torch.tensor([1, 0]), torch.tensor([1, 1]))) == 0.5
assert isinstance(accuracy, torchmetrics.Metric)
from torchmetrics.functional import accuracy as function
assert float(function(torch.tensor([1, 0]), torch.tensor([1, 1]), task="binary")) == 0.5
""",
    "the compiler still works": """
import torch
from lightning.pytorch.utilities.compile import OptimizedModule as stand_in
assert is_deferred("torch._dynamo")
assert not isinstance(torch.nn.Linear(1, 1), stand_in)
model = torch.compile(torch.nn.Linear(2, 2), backend="eager")
assert not is_deferred("torch._dynamo")
assert isinstance(model, stand_in)
assert model(torch.ones(1, 2)).shape == (1, 2)
""",
    "a submodule executes its package first": """
import torch._dynamo.utils
assert not is_deferred("torch._dynamo")
assert torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
assert torch._dynamo.utils.get_optimize_ddp_mode
""",
    "an unknown name is an attribute error": """
import torchmetrics
try:
    torchmetrics.nonsense
except AttributeError as error:
    assert "nonsense" in str(error)
else:
    raise AssertionError
""",
}


@pytest.fixture(scope="module")
def statuses() -> dict[str, str]:
    command = [sys.executable, "-c", START, *AFTER_START_UP.values()]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    print(result.stderr)
    return dict(zip(AFTER_START_UP, result.stdout.split(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", AFTER_START_UP)
def test_after_start_up(statuses, name):
    assert statuses[name] == "0"


@pytest.mark.slow
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
def test_each_stand_in_is_a_name_that_the_module_has():
    """A stand-in for what a library no longer has would hide its error."""
    code = """
import importlib
from bert_ft.config.lean_imports import DEFERRED
for name, stand_ins in DEFERRED.items():
    module = importlib.import_module(name)
    missing = [other for other in stand_ins if other != "__version__" and not hasattr(module, other)]
    assert not missing, (name, missing)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_what_may_come_first_belongs_to_a_deferred_package():
    assert all(any(name.startswith(f"{package}.") for package in DEFERRED) for name in BY_THEMSELVES)
