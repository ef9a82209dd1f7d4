"""Limits of settings, written once, as the type of the argument that takes the setting.

``lr: Positive`` is read twice: by the constructor (``within_limits``, ``check_limits``) and, from the source, by the check of
a whole configuration (``bert_ft.config.declared``). So nothing here may import torch.
"""

from __future__ import annotations

import functools
import inspect
import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Annotated, Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from bert_ft.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")

LISTS = {"list of integers": "integer", "list of numbers": "number", "list of texts": "text"}
TEXT_OR_TEXTS = "text or list of texts"
KINDS: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "text"}


@dataclass(frozen=True)
class Rule:
    """A type with its limits; ``None`` is allowed only if ``nullable``.

    Attributes:
        kind: ``integer``, ``number``, ``text``, ``boolean``, ``mapping``, ``any``, a list (see ``LISTS``), or
            ``TEXT_OR_TEXTS``.
        at_least: smallest value (of each entry, in a list).
        at_most: largest value.
        above: limit that the value must exceed.
        below: limit that the value must stay below.
        choices: the only values allowed.
        nullable: whether ``null`` is allowed.
        also: additional allowed values (``auto``, ``-1``).
        own_class: whether a user's class is allowed, as a mapping with ``_target_``.
    """

    kind: str
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    nullable: bool = False
    also: tuple[Any, ...] = ()
    own_class: bool = False

    def accepts(self, value: Any) -> bool:
        if value is None:
            return self.nullable
        if any(value == other and type(value) is type(other) for other in self.also):
            return True
        if self.own_class and isinstance(value, Mapping) and "_target_" in value:
            return True  # its constructor checks it
        if self.choices:
            return value in self.choices
        if self.kind == TEXT_OR_TEXTS:
            texts = value if isinstance(value, list | tuple) and value else [value]
            return all(_is_kind("text", each) for each in texts)
        if self.kind in LISTS:
            return isinstance(value, list | tuple) and all(
                _is_kind(LISTS[self.kind], entry) and self._in_range(entry) for entry in value
            )
        return _is_kind(self.kind, value) and self._in_range(value)

    def problem(self, key: str, value: Any) -> str | None:
        """Return a message if the value is wrong, else ``None``."""
        return None if self.accepts(value) else f"{key}={'null' if value is None else value}: must be {self}"

    def _in_range(self, value: Any) -> bool:
        return not (
            (self.at_least is not None and value < self.at_least)
            or (self.at_most is not None and value > self.at_most)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )

    def __str__(self) -> str:
        if self.choices:
            parts = ["one of " + ", ".join(map(str, self.choices))]
        else:
            signs = (("≥", self.at_least), (">", self.above), ("≤", self.at_most), ("<", self.below))
            limits = " and ".join(f"{sign} {limit}" for sign, limit in signs if limit is not None)
            parts = [f"{'an' if self.kind[0] in 'aeiou' else 'a'} {self.kind} {limits}".strip()]
        parts += [str(other) for other in self.also]
        if self.own_class:
            parts.append("a class of your own ({_target_: ...})")
        if self.nullable:
            parts.append("null")
        return " or ".join(parts)


def _is_kind(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind in ("boolean", "any")
    if kind == "number":  # infinity and NaN are none
        return isinstance(value, Real) and (isinstance(value, Integral) or math.isfinite(value))
    expected: dict[str, type] = {"integer": Integral, "text": str, "mapping": dict, "any": object}
    return isinstance(value, expected.get(kind, ()))


Count = Annotated[int, Rule("integer", at_least=1)]
CountOrZero = Annotated[int, Rule("integer", at_least=0)]
TwoOrMore = Annotated[int, Rule("integer", at_least=2)]
Positive = Annotated[float, Rule("number", above=0)]
NotNegative = Annotated[float, Rule("number", at_least=0)]
Ratio = Annotated[float, Rule("number", at_least=0, at_most=1)]
PositiveRatio = Annotated[float, Rule("number", above=0, at_most=1)]
BelowOne = Annotated[float, Rule("number", at_least=0, below=1)]
BetweenZeroAndOne = Annotated[float, Rule("number", above=0, below=1)]


def one_of(names: Iterable[Any]) -> Rule:
    """Return the rule of a choice, for an annotation: ``Annotated[str, one_of(POOLINGS)]``."""
    return Rule("text", choices=tuple(names))


def rule_of(hint: Any) -> Rule | None:
    """Return the rule for a type, or ``None`` for types that don't occur in configurations.

    A union with ``None`` may be null; one with ``Mapping`` may be the user's own class.
    """
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        return next((each for each in arguments if isinstance(each, Rule)), None)
    if get_origin(hint) in (Union, types.UnionType):
        rules = [rule for each in arguments if (rule := rule_of(each)) is not None]
        owns = any(get_origin(each) is Mapping for each in arguments)
        if len(rules) != 1 or len(arguments) != 1 + owns + (type(None) in arguments):
            return None
        return replace(rules[0], nullable=type(None) in arguments, own_class=owns)
    if get_origin(hint) in (Sequence, list):
        entry = rule_of(arguments[0])
        listed = entry and f"list of {entry.kind}s"
        return replace(entry, kind=listed) if entry and listed in LISTS else None
    return Rule(KINDS[hint]) if hint in (bool, int, float, str) else None


def require(hint: Any, key: str, value: Any) -> None:
    """Refuse a value outside the limits of a type.

    Raises:
        ConfigError: says what is allowed.
    """
    rule = rule_of(hint)
    if rule is not None and (problem := rule.problem(key, value)):
        raise ConfigError(problem)


def problems_of(section: str, hints: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each wrong value, which names its key in the section of a configuration."""
    for name, value in values.items():
        rule = rule_of(hints.get(name))
        if rule is not None and (problem := rule.problem(f"{section}.{name}", value)):
            yield problem


def check_limits(section: str, settings: Any) -> None:
    """Refuse fields of a dataclass outside the limits of their types.

    Raises:
        ConfigError: names each as a key of that section of the configuration.
    """
    if found := list(problems_of(section, hints_of(type(settings)), vars(settings))):
        raise ConfigError("\n".join(found))


def within_limits(section: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function or ``__init__`` refuse arguments outside the limits of their types; see ``check_limits``."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments
            if found := list(problems_of(section, hints_of(function), given)):
                raise ConfigError("\n".join(found))
            return function(*args, **kwargs)

        return checked

    return decorate


def hints_of(owner: Any) -> dict[str, Any]:
    """Return name → annotated type for a class or function."""
    return get_type_hints(owner, include_extras=True)


class FileKeys:
    """Keys of the commands that read a file with a saved model, ``conf/predict.yaml`` and ``conf/evaluate.yaml``, and their types."""

    bundle: str
    input: str
    output: str
    overwrite: bool
    text_column: str | None
    text_pair_column: str | None
    label_column: Annotated[Any, Rule(TEXT_OR_TEXTS, nullable=True)]
    delimiter: str | None
    encoding: str | None
    quoting: Annotated[str, one_of(("quotes", "none"))] | None
    header: bool | None
    columns: list[str] | None
    batch_size: Count
    max_tokens: Count
    accelerator: Annotated[str, one_of(("auto", "cpu", "cuda"))]
