"""``--help``, the page of all keys, and the comments in ``conf/`` that both are made of."""

import contextlib
import io
import os
import re
import subprocess
import sys

import pytest

from bert_ft.config.conf_files import compose, parse
from bert_ft.config.help_text import print_help
from bert_ft.config.paths import conf_dir
from bert_ft.config.reference import reference_page
from bert_ft.config.sections import choices_of, sections
from bert_ft.errors import ConfigError
from bert_ft.verbs import VERBS
from tests.pages import text_of

SEARCHING = {"hydra/sweeper": "optuna"}  # which has groups of its own
CONFIGURED = [verb for verb in VERBS if (conf_dir() / f"{verb}.yaml").is_file()]


def shown(verb: str, *words: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        print_help(verb, words)
    return text.getvalue()


def keys_of(verb: str, choices=None):
    for section in sections(verb, choices):
        for key in (*section.keys, *(key for other in section.others for key in other.adds)):
            yield section.title, key


@pytest.mark.parametrize(("verb", "choices"), [*((verb, {}) for verb in CONFIGURED), ("train", SEARCHING)])
def test_every_key_has_a_comment_and_every_choice_a_description(verb, choices):
    without = {(title, key.name) for title, key in keys_of(verb, choices) if not key.comment}
    without |= {
        (group.name, name)
        for group in compose(verb, choices).groups
        for name, text in choices_of(group, verb).items()
        if not text
    }
    assert not without


@pytest.mark.parametrize("verb", CONFIGURED)
def test_the_help_of_a_verb(verb):
    text = shown(verb)
    assert "\033" not in text  # no colors: not a terminal
    assert [line for line in text.splitlines() if len(line) > 80 and " " in line.strip()] == []
    for _, key in keys_of(verb):
        assert f"{key.name}=" in text or f"{key.name}:" in text
    assert not re.search(r"=_\w|/_\w|\b_(data|loss|terms|encoder|machine)\b", text)


def test_what_hides_behind_a_choice_that_is_off():
    text = " ".join(shown("train").split())
    assert "or averaging=swa Stochastic weight averaging" in text
    assert "averaging.cycle_steps=null length of cycles" in text
    assert "or loss=focal Cross entropy that downweights rows that are confidently right. sets" not in text
    assert (
        "sets encoder.name_or_path=google-bert/bert-large-uncased, encoder.gradient_checkpointing=true"
        in text
    )


@pytest.mark.parametrize(
    ("words", "found", "left_out"),
    [
        (["class", "weights"], "loss.class_weights=null", "optimizer.lr"),
        (["optimizer.lr=1"], "optimizer.lr=null", "loss.class_weights"),
        (
            ["data=files"],
            "data.train_file=… (needed)",
            "2,225 BBC articles",
        ),
        (["averaging=ema", "averaging.decay"], "averaging.decay=0.99", "or averaging=ema"),
        (["experiment=few_shot"], "sets pretrain=mlm_contrastive", "pretrain.mlm_weight"),
        (["experiment=few_shot"], "(here 600: Many short epochs", "optimizer.lr"),
    ],
)
def test_words_narrow_the_help(words, found, left_out):
    text = " ".join(shown("train", *words).split())
    assert found in text
    assert left_out not in text


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "class_wieghts",
            r"--help class_wieghts: no key, value or comment has these words; did you mean class_weights\?",
        ),
        ("loss=tree", r"loss=tree: loss has no such choice; it has adversarial, asymmetric"),
    ],
)
def test_words_that_find_nothing(word, message):
    with pytest.raises(ConfigError, match=message):
        shown("train", word)


def test_the_page_of_all_keys_is_up_to_date():
    assert text_of("reference") == reference_page()


def test_comments_above_behind_and_over_several_lines():
    file = parse(
        """\
# @package _global_
# What the file is.
#   a command
# The end.
defaults: [_data, _self_]
a: 1 # behind

# above,
# in two lines
b: "x # no comment" # and behind
c: # of a mapping
  _target_: d
  e: [1, 2]
f:
  - one
  - two
"""
    )
    assert (file.package, file.defaults) == ("_global_", ["_data", "_self_"])
    assert file.description == "What the file is.\n  a command\nThe end."
    assert [(key.name, key.value, key.comment) for key in file.keys] == [
        ("a", "1", "behind"),
        ("b", '"x # no comment"', "above, in two lines and behind"),
        ("c", "", "of a mapping"),
        ("c.e", "[1, 2]", ""),
        ("f", "[one, two]", ""),
    ]


def test_a_choice_keeps_what_a_key_means_and_adds_why_it_sets_it():
    large = compose("train", {"encoder": "bert_large"})
    meaning = large.comment("encoder.gradient_checkpointing")
    assert meaning.startswith("recompute layers in the backward pass: less memory")
    assert meaning.endswith("(here true: a model of this size is limited by memory)")
    assert large.comment("encoder.name_or_path") == "a hub name or a folder"


@pytest.mark.parametrize("overrides", [{}, {"task": "multi_label"}, {"data": "files", "pretrain": "mlm"}])
def test_the_reader_finds_what_hydra_composes(overrides):
    """The independent reference: names and values of all keys."""
    import hydra
    from omegaconf import OmegaConf

    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        config = hydra.compose("train", [f"{key}={value}" for key, value in overrides.items()])
    ours = compose("train", overrides).keys

    def check(node, prefix):
        for name, value in node.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict) and value:
                check(value, f"{key}.")
            elif not name.startswith("_") and value != {}:
                assert OmegaConf.create(f"x: {ours[key].value}") == {"x": value}, key

    check(OmegaConf.to_container(config, resolve=False), "")


@pytest.mark.slow
@pytest.mark.parametrize("words", ["train --help", "predict --cfg job", "--help", "-sc install=bash"])
def test_a_reader_that_stops_early_is_no_error(words):
    """As with ``| head``; the pipe is closed before anything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "bert_ft", *words.split()]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert result.stderr == ""
