"""Walk over nested mappings and lists, such as a configuration, by dotted keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def walk(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and value of every entry; a mapping or list comes before its own entries."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield f"{prefix}{name}", child
        yield from walk(child, f"{prefix}{name}.")
