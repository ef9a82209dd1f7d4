"""What is wrong with a layer, told from the statistics of its activations."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

# A layer's values are as large as those of its neighbours, within a factor of a few: MiniLM's and BERT's stay within 6.
BLOW_UP_RATIO = 50.0
# float16's largest number is 65,504
BLOW_UP_SIZE = 6e4
DEAD_RATIO = 0.99
SATURATED_SIZE = 0.99  # root mean square of what tanh gives


def sick_blocks(blocks: Mapping[str, Sequence[float]], kinds: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with each block that is dead, saturated, blows up or isn't finite, the lowest first.

    Args:
        blocks: name → its ``STATISTICS``; the names as those of ``SubBlock``.
        kinds: name → kind, likewise.
    """
    usual = _usual_sizes(blocks, kinds)
    return {
        name: found
        for name, values in blocks.items()
        if (found := _complaint(values, kinds[name], usual.get(kinds[name]) if _in_layer(name) else None))
    }


def _complaint(values: Sequence[float], kind: str, usual_size: float | None) -> str | None:
    mean, sd, max_abs, near_zero, _ = values
    size = math.hypot(mean, sd)
    if not math.isfinite(size) or not math.isfinite(max_abs):
        return "has values that aren't finite"
    if max_abs > BLOW_UP_SIZE:
        return f"blows up: values up to {max_abs:.3g}"
    if usual_size and size > BLOW_UP_RATIO * usual_size:
        return f"blows up: {size / usual_size:.0f} times as large as in the other layers"
    if kind == "tanh" and size > SATURATED_SIZE:
        return f"is saturated: its values are ±{size:.3f} on average"
    if kind == "linear":  # a residual branch begins at zero
        return None
    if near_zero > DEAD_RATIO:
        return f"is dead: {100 * near_zero:.0f}% of its values are near zero"
    if sd == 0:
        return "is dead: it gives the same value everywhere"
    return None


def _usual_sizes(blocks: Mapping[str, Sequence[float]], kinds: Mapping[str, str]) -> dict[str, float]:
    """The median size of each kind of block over the layers, where there are enough to tell."""
    sizes = defaultdict(list)
    for name, (mean, sd, *_) in blocks.items():
        if _in_layer(name) and math.isfinite(mean) and math.isfinite(sd):
            sizes[kinds[name]].append(math.hypot(mean, sd))
    return {kind: median(values) for kind, values in sizes.items() if len(values) > 2}


def _in_layer(name: str) -> bool:
    return name.startswith("layer.")
