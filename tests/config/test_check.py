"""All problems at once, by key and value."""

import pytest

from bert_ft.config.check import problems
from bert_ft.config.rules import RULES, Rule

from .test_conf import compose


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["trainer.max_epochs=abc"], "trainer.max_epochs=abc: must be an integer ≥ 1 or -1"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0: must be an integer ≥ 1 or -1"),
        (["trainer.max_epochs=1.5"], "trainer.max_epochs=1.5: must be an integer ≥ 1 or -1"),
        (["optimizer.lr=0"], "optimizer.lr=0: must be a number > 0"),
        (["optimizer.lr=true"], "optimizer.lr=True: must be a number > 0"),
        (["optimizer.lr=nan"], "optimizer.lr=nan: must be a number > 0"),
        (["optimizer.lr=null"], "optimizer.lr=null: must be a number > 0"),
        (["optimizer.layer_decay=1.1"], "optimizer.layer_decay=1.1: must be a number > 0 and ≤ 1"),
        (["model.pooling=median"], "model.pooling=median: must be one of cls, mean, max, attention"),
        (["model.head.hidden_sizes=[384,0]"], "hidden_sizes=[384, 0]: must be a list of integers ≥ 1"),
        (["model.head.hidden_sizes=384"], "model.head.hidden_sizes=384: must be a list of integers ≥ 1"),
        (["model.head.dropout=1"], "model.head.dropout=1: must be a number ≥ 0 and < 1"),
        (["trainer.precision=8"], "trainer.precision=8: must be one of 16, 32"),
        (["data=files"], "data.train_file: required; give a text"),
        (["data=files", "data.train_file=nowhere.csv"], "data.train_file=nowhere.csv: no such file"),
        (["encoder=any"], "encoder.name_or_path: required; give a text"),
        (["seed=-1"], "seed=-1: must be an integer ≥ 0"),
        (
            ["objective.metric=val/loss"],
            "objective.mode=max: contradicts objective.metric=val/loss; set it to min",
        ),
        (["schedule.warmup_steps=5"], "schedule.warmup_steps=5: schedule.warmup_ratio=0.1 is set too"),
        (
            ["schedule.warmup_ratio=null", "schedule.warmup_steps=50", "trainer.max_steps=9"],
            "schedule.warmup_steps=50: exceeds trainer.max_steps=9",
        ),
        (
            ["data.validation_ratio=0.5", "data.test_ratio=0.5"],
            "data.validation_ratio=0.5: with data.test_ratio=0.5 it leaves no training rows",
        ),
        (["trainer.max_epochs=-1"], "trainer.max_epochs=-1: no end is set"),
        (["encoder.freeze_layers=-1"], "encoder.freeze_layers=-1: must be an integer ≥ 0 or null"),
        (["encoder.cache_frozen=2"], "encoder.cache_frozen=2: must be a boolean"),
        (
            ["encoder.cache_frozen=true"],
            "encoder.cache_frozen=True: needs a number of frozen layers; give encoder.freeze_layers",
        ),
        (["data.max_tokens=100"], "data.max_tokens=100: less than data.max_length"),
    ],
)
def test_one_problem(overrides, expected):
    found = problems(compose(*overrides))
    assert len(found) == 1
    assert expected in found[0]


def test_all_problems_are_found_together():
    found = problems(compose("optimizer.lr=-1", "model.pooling=x", "data.batch_size=0"))
    assert [problem.split("=")[0] for problem in found] == [
        "model.pooling",
        "data.batch_size",
        "optimizer.lr",
    ]


def test_a_sound_configuration_has_none():
    assert problems(compose("trainer.max_epochs=-1", "trainer.max_steps=10", "model=bert_linear")) == []


def test_somebodys_own_class_is_left_to_its_constructor():
    assert problems(compose("+data.label_column={_target_:my.Column}")) == []


@pytest.mark.parametrize("key", sorted(RULES))
def test_no_rule_takes_anything(key):
    """Each rule refuses something, else it says nothing."""
    rule = RULES[key]
    if rule.kind != "any" or rule.choices:
        assert not all(rule.accepts(value) for value in (None, -1, "?", 1e9, True, []))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule("integer", at_least=1, also=(-1,)), "an integer ≥ 1 or -1"),
        (Rule("number", above=0, below=1, nullable=True), "a number > 0 and < 1 or null"),
        (Rule("text", choices=("a", "b")), "one of a, b"),
        (Rule("boolean"), "a boolean"),
    ],
)
def test_rules_read_as_sentences(rule, text):
    assert str(rule) == text
