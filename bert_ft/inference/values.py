"""Table values as text, for csv fields and JSON."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


def field_text(value: Any) -> str:
    """Return a value as the text of a field: nothing for a missing one, lists and mappings as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return bytes_text(value)
    if isinstance(value, list | dict | tuple):
        return json_text(value)
    return str(value)


def json_text(value: Any) -> str:
    """Return valid JSON: NaN and infinities are null, bytes become text, times and similar values their usual spelling."""
    return json.dumps(_plain(value), ensure_ascii=False, default=str, allow_nan=False)


def bytes_text(value: bytes) -> str:
    """Return bytes decoded as UTF-8 if valid, else as ``base64:`` followed by base64."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(value).decode()}"


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return bytes_text(value)
    if isinstance(value, dict):
        return {valid_text(str(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def valid_text(text: str) -> str:
    """Return the text with U+FFFD in place of undecodable bytes and unpaired surrogates."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def members(text: str) -> dict[str, str]:
    """Return key → value of a JSON object, each value as written; the last of equal keys wins.

    Args:
        text: one valid object.
    """
    found = {}
    position = _after_space(text, text.index("{") + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, _after_space(text, position))
        start = _after_space(text, _after_space(text, position) + 1)  # behind the colon
        _, end = _DECODER.raw_decode(text, start)
        found[key] = text[start:end]
        position = _after_space(text, end)
        if text[position] == ",":
            position = _after_space(text, position + 1)
    return found


def _after_space(text: str, position: int) -> int:
    while text[position] in _SPACE:
        position += 1
    return position
