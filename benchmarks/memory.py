"""The memory that a process has held."""

from __future__ import annotations

from pathlib import Path


def peak_megabytes() -> float:
    """The most memory that this process has held at once, in MB (2²⁰ bytes), mapped files counted as far as read.

    Not ``ru_maxrss``: Linux carries that over ``exec``, so that a child begins with its parent's peak.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM")
