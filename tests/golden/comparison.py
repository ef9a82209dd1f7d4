"""How results differ from the recorded ones."""

import math
import re
from collections.abc import Iterator
from typing import Any

DIGEST = re.compile(r"[0-9a-f]{64}")


def differences(recorded: Any, found: Any, tolerance: float | None, where: str = "") -> Iterator[str]:
    """Yield a sentence for each value that isn't as recorded.

    Values that are found beside the recorded ones are no difference: a later version may say more.

    Args:
        recorded: plain values: numbers, strings, lists, dictionaries.
        found: the same of this run.
        tolerance: how far a number may be from the recorded one (of which it is a share, if that is more than 1);
            digests aren't compared then. ``None``: all are equal to the last bit.
        where: the names that lead to the values.
    """
    if isinstance(recorded, dict) and isinstance(found, dict):
        for name, value in recorded.items():
            path = f"{where}/{name}" if where else name
            if name in found:
                yield from differences(value, found[name], tolerance, path)
            else:
                yield f"{path}: {value!r} is recorded, and nothing was found"
    elif isinstance(recorded, list) and isinstance(found, list):
        if len(recorded) != len(found):
            yield f"{where}: {len(recorded)} values are recorded, and {len(found)} were found"
        for index, (value, now) in enumerate(zip(recorded, found, strict=False)):
            yield from differences(value, now, tolerance, f"{where}[{index}]")
    elif not _agree(recorded, found, tolerance):
        yield f"{where}: {recorded!r} is recorded, and {found!r} was found"


def _agree(recorded: Any, found: Any, tolerance: float | None) -> bool:
    if type(recorded) is not type(found):
        return False
    if tolerance is not None:
        if isinstance(recorded, float):
            return math.isclose(recorded, found, rel_tol=tolerance, abs_tol=tolerance)
        if isinstance(recorded, str) and DIGEST.fullmatch(recorded):
            return True
    return recorded == found
