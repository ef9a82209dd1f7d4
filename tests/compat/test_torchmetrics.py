"""How torchmetrics is imported: fails where torchmetrics has changed what it imports."""

import subprocess
import sys
from types import ModuleType

import pytest

from bert_ft.compat.torchmetrics import import_without_signals


def python(code: str) -> list[str]:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.slow
def test_signals_are_left_out_until_they_are_needed():
    printed = python(
        """
import sys
import bert_ft.config.build
print("torchmetrics" in sys.modules, any(name.startswith("scipy.signal") for name in sys.modules))
import torch, torchmetrics
accuracy = torchmetrics.Accuracy(task="binary")
print(float(accuracy(torch.tensor([1, 0]), torch.tensor([1, 1]))))
import scipy.signal
print(scipy.signal is sys.modules["scipy.signal"], len(scipy.signal.firwin(5, 0.5)), hasattr(scipy.signal, "hamming"))
"""
    )
    assert printed == ["True", "False", "0.5", "True", "5", "False"], "torchmetrics changed what it imports"


@pytest.mark.parametrize("name", ["torchmetrics", "scipy.signal"])
def test_what_is_imported_already_stays(monkeypatch, name):
    monkeypatch.delitem(sys.modules, "torchmetrics", raising=False)
    monkeypatch.delitem(sys.modules, "scipy.signal", raising=False)
    there = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, there)
    import_without_signals()
    assert [sys.modules.get(each) for each in ("torchmetrics", "scipy.signal")].count(None) == 1
    assert sys.modules[name] is there
