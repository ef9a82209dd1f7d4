"""A short wait for other threads, set in time and nowhere else, and a word where there are too many of them."""

import os
import subprocess
import sys

import pytest

from bert_ft.config import busy_machine
from bert_ft.config.busy_machine import OtherWork
from bert_ft.kernels.memory import HUGE_PAGES

LOADED = """
import os, subprocess, sys
from bert_ft.config.startup import heavy_imports
with heavy_imports():
    import torch
child = "import os; print(*sorted(os.environ), sep=chr(10))"
print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout)
"""
AS_A_LIBRARY = "import bert_ft.config.startup, bert_ft.models.bundle"


def shown(code: str, **own: str) -> str:
    """What a process prints in which torch is loaded, OpenMP's settings included."""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", HUGE_PAGES)
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"OMP_DISPLAY_ENV": "verbose", **own}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="torch's wheels have libgomp only there")
@pytest.mark.parametrize(
    ("code", "own", "spins"),
    [
        (LOADED, {}, "1000"),
        (LOADED, {"GOMP_SPINCOUNT": "7"}, "7"),
        (LOADED, {"OMP_WAIT_POLICY": "active"}, "30000000000"),
        (AS_A_LIBRARY, {}, "300000"),
    ],
)
def test_how_long_threads_spin(code, own, spins):
    lines = shown(code, **own).splitlines()
    assert f"  GOMP_SPINCOUNT = '{spins}'" in lines
    assert {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", HUGE_PAGES} & set(lines) == (
        set(own) if code is LOADED else set()
    )


@pytest.mark.parametrize(
    ("others", "threads", "said"),
    [(0.0, 2, None), (0.4, 2, None), (1.0, 2, 1), (1.0, 1, None), (2.0, 2, 1), (1.0, 4, 3), (5.0, 1, None)],
)
def test_more_threads_than_free_cores_are_said(others, threads, said, monkeypatch, caplog):
    monkeypatch.setattr(busy_machine, "_cores", lambda: list(range(max(threads, 2))))
    times = iter([(10.0, 1.0), (10.0 + 2 * (others + 0.9), 1.0 + 2 * 0.9)])  # of two seconds, 1.8 are our own
    monkeypatch.setattr(OtherWork, "_seconds", staticmethod(lambda: next(times)))
    now = iter([100.0, 102.0])
    monkeypatch.setattr(busy_machine.time, "monotonic", lambda: next(now))
    OtherWork().warn_if_crowded(threads)
    if said is None:
        assert not caplog.records
    else:
        assert f"keep about {others:.1f} of" in caplog.text
        assert f"OMP_NUM_THREADS={said} may be faster" in caplog.text
