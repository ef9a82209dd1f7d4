"""The start time of a process, which distinguishes it from a later one with the same number."""

from __future__ import annotations

import os

import psutil


def start_of(pid: int) -> str | None:
    """Return when the process started, in the system's own count; ``None`` if it doesn't exist or has ended."""
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        started = process.create_time()
    except psutil.NoSuchProcess:
        return None
    if not psutil.LINUX:
        return str(started)
    # ticks since boot: resetting the clock changes both times
    return str(round((started - psutil.boot_time()) * os.sysconf("SC_CLK_TCK")))
