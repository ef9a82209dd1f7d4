"""Find unhealthy layers by the statistics of their activations."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

# Layers differ in the size of their values by a small factor: those of MiniLM and BERT by up to 6.
BLOW_UP_RATIO = 50.0
BLOW_UP_SIZE = 6e4  # float16's largest number is 65,504
DEAD_RATIO = 0.99
SATURATED_SIZE = 0.99  # root mean square of the outputs of tanh


def sick_blocks(blocks: Mapping[str, Sequence[float]], kinds: Mapping[str, str]) -> dict[str, str]:
    """Return the fault of each block that is dead, saturated, blowing up or not finite, the lowest block first.

    Args:
        blocks: name of a ``SubBlock`` → its ``STATISTICS``.
        kinds: name → kind of the block.
    """
    sizes = defaultdict(list)
    for name, (mean, sd, *_) in blocks.items():
        if name.startswith("layer.") and math.isfinite(mean) and math.isfinite(sd):
            sizes[kinds[name]].append(math.hypot(mean, sd))
    # fewer than three layers can't tell which of them is right
    usual = {kind: median(values) for kind, values in sizes.items() if len(values) > 2}
    found = {}
    for name, values in blocks.items():
        usual_size = usual.get(kinds[name]) if name.startswith("layer.") else None
        if complaint := _complaint(values, kinds[name], usual_size):
            found[name] = complaint
    return found


def _complaint(values: Sequence[float], kind: str, usual_size: float | None) -> str | None:
    mean, sd, max_abs, near_zero, _ = values
    size = math.hypot(mean, sd)
    if not math.isfinite(size) or not math.isfinite(max_abs):
        return "has non-finite values"
    if max_abs > BLOW_UP_SIZE:
        return f"blows up: values up to {max_abs:.3g}"
    if usual_size and size > BLOW_UP_RATIO * usual_size:
        return f"blows up: {size / usual_size:.0f} times as large as in the other layers"
    if kind == "tanh" and size > SATURATED_SIZE:
        return f"is saturated: its values are ±{size:.3f} on average"
    if kind == "linear":  # a residual branch starts at zero
        return None
    if near_zero > DEAD_RATIO:
        return f"is dead: {100 * near_zero:.0f}% of its values are near zero"
    return "is dead: all its values are equal" if sd == 0 else None
