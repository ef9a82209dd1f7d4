"""How torchmetrics is imported: fails where torchmetrics has changed what it imports."""

import subprocess
import sys


def python(code: str) -> list[str]:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_signals_are_left_out_until_they_are_needed():
    told = python(
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
    changed = "torchmetrics changed what it imports"
    assert told == ["True", "False", "0.5", "True", "5", "False"], changed


def test_what_is_imported_already_stays():
    told = python(
        """
import scipy.signal
from bert_ft.compat.torchmetrics import import_without_signals
before = scipy.signal
import_without_signals()
import sys
print("torchmetrics" in sys.modules, sys.modules["scipy.signal"] is before)
import torchmetrics
import_without_signals()
print(sys.modules["scipy.signal"] is before)
"""
    )
    assert told == ["False", "True", "True"]
