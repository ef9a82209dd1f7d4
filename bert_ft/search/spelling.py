"""Values as an override spells them, and back."""

from __future__ import annotations

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from bert_ft.compat.hydra import encoded, quoted, unquoted


def as_written(value: Any) -> str:
    """Return a value as an override spells it: ``null`` and ``true`` for None and True."""
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_written, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def parsed(choice: Any) -> Any:
    """Return the value of a choice; one that is text is spelled as in an override."""
    if not isinstance(choice, str):
        return choice
    return unquoted(OverridesParser.create().parse_override(f"value={choice}").value())


def with_quotes(choice: Any) -> Any:
    """Return a choice as an override spells it: text in quotes if it would be read as something else without them."""
    if not isinstance(choice, str):
        return encoded(choice)
    try:
        is_read_as_it_is = parsed(choice) == choice
    except HydraException:
        is_read_as_it_is = False
    return choice if is_read_as_it_is else quoted(choice)
