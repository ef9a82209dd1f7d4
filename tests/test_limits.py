"""Types as limits: how they read, and what they refuse."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from bert_ft.errors import ConfigError
from bert_ft.limits import BelowOne, Count, Positive, Rule, one_of, require, rule_of, within_limits


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


@pytest.mark.parametrize(
    ("hint", "rule"),
    [
        (bool, Rule("boolean")),
        (Count | None, Rule("integer", at_least=1, nullable=True)),
        (Sequence[Count], Rule("list of integers", at_least=1)),
        (list[str] | None, Rule("list of texts", nullable=True)),
        (
            Annotated[str, one_of(("a", "b"))] | Mapping[str, Any],
            Rule("text", choices=("a", "b"), own_class=True),
        ),
        (Annotated[int, "a note"], None),
        (Path | str, None),
        (int | str, None),
        (Sequence[bool], None),
        (Mapping[str, Any], None),
        (None, None),
    ],
    ids=str,
)
def test_the_rule_of_a_type(hint, rule):
    assert rule_of(hint) == rule


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(3), 10**400])
def test_numbers_of_other_types_are_numbers(value):
    require(Positive, "x", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "1", None, 0])
def test_what_is_no_positive_number(value):
    with pytest.raises(ConfigError, match=r"^x=.*: must be a number > 0$"):
        require(Positive, "x", value)


def test_a_type_without_limits_refuses_nothing():
    require(Path, "x", 3)


def test_a_function_refuses_all_that_is_wrong_at_once():
    @within_limits("section")
    def area(width: Count, height: BelowOne = 0.5) -> float:
        """Return the product."""
        return width * height

    assert (area(2), area(2, height=0.25), area.__doc__) == (1.0, 0.5, "Return the product.")
    with pytest.raises(ConfigError) as error:
        area(0, 1)
    assert str(error.value).splitlines() == [
        "section.width=0: must be an integer ≥ 1",
        "section.height=1: must be a number ≥ 0 and < 1",
    ]
