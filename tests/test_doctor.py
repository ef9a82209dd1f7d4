"""``bert_ft doctor``."""

import importlib.metadata

import pytest

from bert_ft import doctor
from tests import commands


@pytest.mark.slow
def test_what_it_says_here(tmp_path):
    result = commands.run("bert_ft", "doctor", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    for words in (
        f"torch {importlib.metadata.version('torch')}",
        "trainer.precision=auto trains in ",
        "attention on packed texts: used; it agrees with torch's",
        "GB free",
        "passed on ",
        "All is well.",
    ):
        assert words in result.stdout
    assert list(tmp_path.iterdir()) == []


def shown(monkeypatch, capsys, *words: str) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["doctor", *words])
    with pytest.raises(SystemExit) as stop:
        doctor.main()
    output = capsys.readouterr()
    return stop.value.code, output.out + output.err


def test_a_failing_self_test_and_a_missing_package_end_with_1(monkeypatch, capsys):
    def fail(folder):
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(doctor, "_train_and_predict", fail)
    monkeypatch.setattr(doctor, "device", lambda: iter(()))
    needed = [*importlib.metadata.requires("bert_ft"), "no-such-package>=1", "numpy<1"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    code, text = shown(monkeypatch, capsys)
    assert code == 1
    assert "no-such-package is missing: pip install 'no-such-package>=1'" in text
    assert "isn't supported: pip install 'numpy<1'" in text
    assert text.endswith("  the self-test failed: RuntimeError: no kernel image\n")
    assert "3 problem(s):" in text


def test_a_section_that_breaks_does_not_hide_the_others(monkeypatch, capsys):
    def broken():
        raise OSError("no driver")
        yield

    for name in ("kernels", "memory"):
        monkeypatch.setattr(doctor, name, broken)
    monkeypatch.setattr(doctor, "_train_and_predict", lambda folder: "cpu")
    code, text = shown(monkeypatch, capsys)
    assert code == 1
    assert "Memory and disk: OSError: no driver" in text
    assert "passed on cpu" in text


def test_it_takes_no_settings(monkeypatch, capsys):
    assert shown(monkeypatch, capsys, "x=1") == (2, "x=1: bert_ft doctor takes no settings\n")
