"""What the process asks of glibc, and that it asks in time."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from bert_ft.kernels import memory
from bert_ft.kernels.memory import keep_freed_memory

VARIABLE = "THP_MEM_ALLOC_ENABLE"


@pytest.fixture
def calls(monkeypatch):
    """What mallopt is asked; this process's own memory is left as it is."""
    asked = []
    library = SimpleNamespace(mallopt=lambda *given: asked.append(given) or 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "environ", {})
    return asked


@pytest.mark.parametrize("value", ["1", "0"])
def test_what_it_asks_for(calls, value):
    if value == "0":  # a user's own value
        os.environ[VARIABLE] = value
    keep_freed_memory()
    assert os.environ[VARIABLE] == value
    # M_MMAP_MAX and M_TRIM_THRESHOLD of glibc's malloc.h
    assert calls == [(-4, 0), (-1, 2**31 - 1)]


def test_a_libc_without_mallopt_and_another_system(calls, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "win32")
    keep_freed_memory()
    assert os.environ[VARIABLE] == "1"
    assert not calls


def test_a_refusal_is_said_once(calls, monkeypatch, caplog):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *given: 0))
    memory._warn_refused.cache_clear()
    for _ in range(2):
        keep_freed_memory()
    (record,) = caplog.records
    assert "keep freed memory" in record.message
    assert "using its own settings" in record.message


def python(code: str, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, env=environment
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only for glibc")
def test_the_c_library_takes_it():
    code = """
import ctypes
plain = ctypes.CDLL
class Library:
    def __init__(self, name): self.library = plain(name)
    def mallopt(self, *given): print(self.library.mallopt(*given))
ctypes.CDLL = Library
import sys, bert_ft.train
from bert_ft.kernels.memory import keep_freed_memory
keep_freed_memory()
print("torch" in sys.modules)
"""
    assert python(code).split() == ["1", "1", "False"]  # 0 would be an error; torch comes later


@pytest.mark.slow
def test_the_command_asks_before_torch_is_there(tmp_path, tiny_encoder, reviews):
    """Composing the configuration, plugins of Hydra's included, brings no torch either."""
    code = """
import sys
from bert_ft.kernels import memory
def stop():
    print("torch" in sys.modules)
    sys.exit(0)
memory.keep_freed_memory = stop
from bert_ft.train import main
main()
"""
    overrides = ["data=files", f"data.train_file={reviews['train']}", f"hydra.run.dir={tmp_path / 'run'}"]
    assert python(code, *overrides, "encoder=any", f"encoder.name_or_path={tiny_encoder}").split() == [
        "False"
    ]
