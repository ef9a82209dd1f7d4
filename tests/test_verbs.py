"""``bert_ft <verb>``: the console script, and ``python -m bert_ft``."""

import subprocess
import sys

import pytest

from bert_ft.config.paths import conf_dir
from bert_ft.verbs import VERBS
from tests import commands


def test_every_command_is_a_verb():
    assert {path.stem for path in conf_dir().glob("*.yaml")} <= VERBS.keys()


def test_the_help_lists_every_verb(tmp_path):
    shown = commands.run("bert_ft", "--help", cwd=tmp_path)
    assert shown.returncode == 0
    for name, verb in VERBS.items():
        assert f"  {name} " in shown.stdout
        assert verb.does in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    assert commands.run("bert_ft", cwd=tmp_path).stdout == shown.stdout


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        ("trian", "bert_ft trian: there is no such verb; did you mean train?\n"),
        ("xyz", f"bert_ft xyz: there is no such verb; choose one of {', '.join(VERBS)}\n"),
        ("--verison", "bert_ft --verison: there is no such verb; did you mean --version?\n"),
        (
            "data=files",
            "bert_ft data=files: there is no such verb; a verb comes first, e.g. bert_ft train data=files\n",
        ),
        (
            "search",
            "bert_ft search: there is no such verb; type bert_ft train --multirun hydra/sweeper=optuna\n",
        ),
    ],
)
def test_an_unknown_verb(tmp_path, verb, message):
    result = commands.run("bert_ft", verb, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (2, message)


def test_a_verb_is_the_module_of_its_name(tmp_path):
    words = ("--cfg", "job", "--package", "trainer", "trainer.max_epochs=7")
    shown = commands.run("bert_ft", "train", *words, cwd=tmp_path).stdout
    assert "max_epochs: 7" in shown
    assert shown == commands.run("bert_ft.train", *words, cwd=tmp_path).stdout
    wrong = commands.run("bert_ft", "predict", "inptu=x", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "inptu=x: there is no key inptu; did you mean input?" in wrong.stderr


def test_the_first_words_load_nothing_heavy():
    code = (
        "import sys, bert_ft.verbs; sys.argv[1:] = ['--version']; bert_ft.verbs.main(); print(*sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(shown.split()).isdisjoint({"hydra", "omegaconf", "yaml", "rich", "torch", "numpy"})
