"""Words of the command line whose key holds a text: the value is used exactly as the shell passes it.

Hydra's grammar has brackets, quotes, commas and equals signs of its own, knows ASCII letters only, and reads ``0`` as a
number. So a text that it would refuse or read as something else is quoted before Hydra sees it. These keep
their meaning:

- ``null`` where the key allows it, and any other value that isn't a text and that the key allows;
- interpolations, ``${...}``, and ``str(...)``;
- a value in quotes as a whole, and Hydra's escapes of single characters (``reviews\\ \\(1\\).csv``);
- in a sweep: commas between values, and ``choice(...)``, ``range(...)`` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from bert_ft.compat.hydra import quoted
from bert_ft.config.declared import declared
from bert_ft.config.rules import RULES, TEXT
from bert_ft.limits import TEXT_OR_TEXTS, Rule, hints_of, rule_of

# keys of others whose values are texts
HYDRA_TEXTS = (
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.sweep.subdir",
    "hydra.job.name",
    "hydra.sweeper.study_name",
    "hydra.sweeper.storage",
    "callbacks.best_checkpoint.dirpath",
    "callbacks.best_checkpoint.filename",
    "callbacks.last_checkpoint.dirpath",
    "callbacks.last_checkpoint.filename",
)
# section → what takes its keys, some of which are texts
_TAKERS = {
    "encoder": "bert_ft.models.encoder.EncoderSpec",
    "data.tokenizer": "bert_ft.data.tokenizer.TokenizerSpec",
    "monitor.attention": "bert_ft.callbacks.attention.AttentionMonitor",
}
_NULLABLE = Rule("text", nullable=True)
# keys of a task, whose class isn't known yet; a grade such as "no" or "1.0" is a text
_TASK_TEXTS = {
    "task.delimiter": _NULLABLE,
    "task.positive": _NULLABLE,
    "task.order": Rule("list of texts", nullable=True),
}
_WORD = re.compile(r"(?P<key>\+{0,2}(?P<name>[\w.]+))=(?P<value>.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\[()\[\]{}:=, \t]")
_FUNCTION = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*\(.*\)\s*", re.DOTALL)
_SWEEPS = {"choice", "range", "interval", "glob", "shuffle", "sort", "tag", "extend_list"}
_INTERPOLATION = re.compile(r"\$\{[^{}]*\}")


def with_quoted_texts(words: Iterable[str], *, sweep: bool = False, keys: type | None = None) -> list[str]:
    """Return the words, with each text quoted that Hydra would refuse or change; see the exceptions above.

    The annotations of ``keys`` are a command's own keys.
    """
    return [_with_quoted_text(word, sweep, keys) for word in words]


def text_override(key: str, text: str, *, sweep: bool = False) -> str:
    """Return the word that gives ``key`` this text, unquoted if possible.

    A shell may need quotes of its own around it: ``shlex.quote``.
    """
    word = f"{key}={text}"
    return word if _value_of(_with_quoted_text(word, sweep)) == text else f"{key}={quoted(text)}"


def text_of(word: str) -> str | None:
    """Return the text that a word of the command line gives its key; ``None`` for ``null`` and a sweep."""
    found = _value_of(_with_quoted_text(word, sweep=False))
    return None if found is None else str(found)


def _with_quoted_text(word: str, sweep: bool, keys: type | None = None) -> str:
    match = _WORD.fullmatch(word)
    rule = None if match is None else _rule_of(match["name"], keys)
    if match is None or rule is None:
        return word
    key, value = match["key"], match["value"]
    if rule.kind == "list of texts" or (rule.kind == TEXT_OR_TEXTS and _is_list(value)):
        return f"{key}={_list(value, rule)}"
    if not sweep:
        return f"{key}={_text(value, rule)}"
    function = _FUNCTION.fullmatch(value)
    if function is not None and function["name"] in _SWEEPS:
        if function["name"] != "choice":
            return word
        inside = value[value.index("(") + 1 : value.rindex(")")]
        texts = _each(inside, rule)
        # choice('0') would lose the quotes, where '0','1' keeps them
        return word if texts == inside or "," not in texts else f"{key}={texts}"
    return f"{key}={_each(value, rule)}"


def _rule_of(name: str, keys: type | None) -> Rule | None:
    if name in HYDRA_TEXTS:
        return _NULLABLE
    section, _, leaf = name.rpartition(".")
    rule = _TASK_TEXTS.get(name, RULES.get(name))
    if rule is None and section in _TAKERS:
        rule = declared(_TAKERS[section]).get(leaf)
    if rule is None and keys is not None and name in (hints := hints_of(keys)):
        rule = rule_of(hints[name])
    is_text = rule is not None and not rule.choices and rule.kind in ("text", "list of texts", TEXT_OR_TEXTS)
    return rule if is_text else None


def _text(value: str, rule: Rule) -> str:
    """Return a single value, quoted if Hydra would refuse or change it."""
    parsed = _parsed(value)
    if parsed is None:
        return _escaped(value)
    found = parsed.value()
    if parsed.is_sweep_override():
        return _escaped(value)
    if isinstance(found, str):
        is_meant = value[:1] in ("'", '"') or value.startswith("str(") or _ESCAPED.search(value)
        return value if found == value or is_meant else _escaped(value)
    return value if found is None or rule.accepts(found) else _escaped(value)


def _escaped(value: str) -> str:
    """Return the value in quotes; a complete ``${...}`` stays an interpolation."""
    if "${" in value and "${" in _INTERPOLATION.sub("", value) and not _nested(value):
        value = value.replace("${", r"\${")
    return quoted(value)


def _nested(value: str) -> bool:
    """Return whether the braces of nested interpolations are balanced."""
    while (inner := _INTERPOLATION.sub("", value)) != value:
        value = inner
    return "${" not in value


def _each(values: str, rule: Rule) -> str:
    """Return values separated by commas, each quoted if necessary."""
    return ",".join(_text(value, rule) for value in _split(values))


def _list(value: str, rule: Rule) -> str:
    """Return a list with its texts quoted if necessary; anything else is unchanged, for the rule to check."""
    if not _is_list(value):
        return value
    parsed = _parsed(value)
    if parsed is not None and (parsed.is_sweep_override() or rule.accepts(parsed.value())):
        return value
    entries = _split(value.strip()[1:-1])
    return f"[{','.join(_text(entry, TEXT) for entry in entries)}]"


def _is_list(value: str) -> bool:
    return value.strip()[:1] == "[" and value.strip()[-1:] == "]"


def _split(values: str) -> list[str]:
    """Split at commas, except those in quotes, in ``${...}`` or after a backslash."""
    found, position = [], 0
    pattern = re.compile(
        r"""\s*(?P<value>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?:\\.|\$\{[^}]*\}|[^,\\]|\\$)*?)\s*(?:,|$)""",
        re.DOTALL,
    )
    while match := pattern.match(values, position):
        found.append(match["value"])
        if match.end() == len(values):
            return [*found, ""] if values.endswith(",") and match.group().endswith(",") else found
        position = match.end()
    return [values]


def _parsed(value: str) -> Any:
    """Return a value as Hydra parses it; ``None`` if it can't."""
    try:
        return OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        return None


def _value_of(word: str) -> Any:
    parsed = _parsed(word.partition("=")[2])
    return None if parsed is None or parsed.is_sweep_override() else parsed.value()
