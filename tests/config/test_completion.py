"""What <Tab> offers, and the bash function that asks for it."""

import os
import shlex
import subprocess
import sys

import pytest

from bert_ft.config.completion import completions
from tests import commands


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("bert_ft tr", ["train"]),
        ("bert_ft train mod", ["model.", "model="]),
        ("bert_ft train model=", ["model=bert_linear", "model=bert_residual"]),
        ("bert_ft train averaging.", []),
        (
            "bert_ft  train averaging=ema averaging.",
            ["averaging.decay=", "averaging.every_n_steps=", "averaging.start_ratio="],
        ),
        ("bert_ft train model.head.", ["model.head.dropout=", "model.head.hidden_sizes="]),
        ("bert_ft train report=", ["report=false", "report=true"]),
        ("bert_ft train optimizer.lr=", []),
        ("bert_ft train pretrain=mlm schedule@", ["schedule@pretrain.schedule="]),
        ("bert_ft pretrain pretrain=m", ["pretrain=mlm", "pretrain=mlm_contrastive"]),
        ("bert_ft predict prob", ["probabilities="]),
        ("bert_ft predict input=", []),
        ("bert_ft train --mul", ["--multirun"]),
        ("bert_ft trian mod", []),
    ],
)
def test_offers(line, offered):
    assert completions(line) == offered


def test_offers_no_files_that_are_parts_of_others():
    assert not [word for word in completions("bert_ft train loss=") if "=_" in word]
    assert completions("bert_ft train loss=_") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "words", "replies"),
    [
        ("bert_ft train mod", ["train", "mod"], ["model.", "model="]),
        ("bert_ft train model=", ["train", "model", "="], ["bert_linear", "bert_residual"]),
        ("bert_ft train model=bert_l", ["train", "model", "=", "bert_l"], ["bert_linear"]),
        ("bert_ft train data.train_file=", ["train", "data.train_file", "="], []),
    ],
)
def test_the_bash_function(tmp_path, line, words, replies):
    """As bash calls it: the words are split at ``=`` too."""
    script = commands.run("bert_ft", "-sc", "install=bash", cwd=tmp_path).stdout
    program = tmp_path / "bert_ft"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m bert_ft "$@"\n')
    program.chmod(0o755)
    asks = (
        f"{script}\nCOMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}\nCOMP_WORDS=(bert_ft {shlex.join(words)})\n"
        f'COMP_CWORD={len(words)}\n_bert_ft {program}\ncomplete -p bert_ft\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    result = subprocess.run(["bash", "-c", asks], capture_output=True, text=True, env=os.environ, check=True)
    assert result.stdout.splitlines() == ["complete -o default -F _bert_ft bert_ft", *(replies or [""])]


@pytest.mark.parametrize("module", ["bert_ft", "bert_ft.train"])
def test_installing_for_an_unknown_shell(tmp_path, module):
    result = commands.run(module, "-sc", "install=tcsh", cwd=tmp_path)
    assert result.returncode != 0
    assert "-sc install=tcsh: give install=SHELL or uninstall=SHELL, with bash, zsh, fish" in result.stderr
