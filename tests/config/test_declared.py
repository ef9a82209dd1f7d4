"""Limits are read from the source of what takes a key, which refuses by the same ones."""

import inspect
import re
import sys
from dataclasses import MISSING, is_dataclass
from pathlib import Path

import pytest
from hydra.utils import get_object

import bert_ft
from bert_ft.config.check import sections
from bert_ft.config.declared import declared
from bert_ft.config.rules import RULES, TAKERS
from bert_ft.errors import ConfigError
from bert_ft.limits import hints_of, rule_of

from .test_conf import CHOICES, NEEDED, compose

ROOT = Path(bert_ft.__file__).parent
SECTIONS = {
    *TAKERS,
    *(
        (section, target)
        for choice in CHOICES
        for section, target in sections(compose(choice, *NEEDED.get(choice, [])))
        if section != "data.source"
    ),
}
OURS = sorted({target for _, target in SECTIONS if target.startswith("bert_ft.")})
# what hands its arguments on to something that refuses them
HANDS_ON = {
    "bert_ft.models.classifier.build_linear": (
        "dropout",
        "window_pooling",
    ),  # the first: transformers' own head
    "bert_ft.models.classifier.build_residual": ("pooling", "pooling_layers", "window_pooling"),
    "bert_ft.models.pretrainer.Pretrainer": ("pooling", "projection_sizes"),
    "bert_ft.optim.layerwise.LayerwiseOptimizer": ("lr", "layer_decay", "weight_decay", "head_lr"),
}


def limited(target):
    """The arguments whose rules say more than a type."""
    return {
        name: rule
        for name, rule in declared(target).items()
        if rule.choices or {rule.at_least, rule.at_most, rule.above, rule.below} != {None}
    }


@pytest.mark.parametrize("target", OURS)
def test_the_source_says_what_the_imported_annotations_say(target):
    function = constructor = get_object(target)
    if inspect.isclass(constructor):
        function = inspect.unwrap(constructor.__init__)
    if not (getattr(function, "__module__", None) or "").startswith(
        "bert_ft."
    ):  # object's or Lightning's own, which the table has
        assert declared(target) == {}
        return
    hints = hints_of(constructor if is_dataclass(constructor) else function)
    rules = {
        name: rule_of(hints[name]) for name in inspect.signature(constructor).parameters if name in hints
    }
    assert declared(target) == {name: rule for name, rule in rules.items() if rule is not None}


@pytest.mark.parametrize(
    ("target", "name"),
    [(target, name) for target in OURS for name in limited(target) if name not in HANDS_ON.get(target, ())],
)
def test_what_takes_a_key_refuses_what_the_check_refuses(target, name):
    rule = declared(target)[name]
    wrong = [-1] if rule.kind.startswith("list") else "none of these" if rule.choices else -1
    constructor = get_object(target)
    needed = {
        each.name: None
        for each in inspect.signature(constructor).parameters.values()
        if each.default in (inspect.Parameter.empty, MISSING) and each.kind is not each.VAR_KEYWORD
    }
    with pytest.raises(ConfigError, match=re.escape(rule.problem(name, wrong))):
        constructor(**{**needed, name: wrong})


def test_the_table_repeats_nothing_that_a_signature_says():
    twice = {f"{section}.{name}" for section, target in SECTIONS for name in declared(target)} & RULES.keys()
    # a configuration may also say balanced, and null for the encoder's default
    assert twice == {"loss.class_weights", "optimizer.lr"}


@pytest.mark.parametrize(
    "folder", ["callbacks", "data", "kernels", "models", "nn", "optim", "search", "training"]
)
def test_no_limit_is_written_by_hand(folder):
    by_hand = re.compile(
        r"=\{[^}]*\}:? must be (at least|at most|above|below|between|from|whole|an? (integer|number))"
    )
    for path in (ROOT / folder).rglob("*.py"):
        assert not by_hand.search(path.read_text(encoding="utf-8")), path


def test_nothing_is_imported_to_read_limits(monkeypatch):
    declared.cache_clear()
    before = set(sys.modules)
    assert "pooling" in declared("bert_ft.models.classifier.build_residual")
    assert set(sys.modules) == before


def test_other_packages_declare_nothing():
    assert declared("torch.optim.AdamW") == {}
    assert declared("bert_ft.callbacks.validated_checkpoint.ValidatedCheckpoint") == {}
    for name in ("nn.losses.NoSuchLoss", "no.such.Loss", "nn.losses.Focal.forward", "nn.losses.float"):
        assert declared(f"bert_ft.{name}") == {}
