"""Whether a process still runs, though the system gives its number again."""

from __future__ import annotations

import os

import psutil


def start_of(pid: int) -> str | None:
    """Return when the process started, as the system counts it, or ``None`` if there is none of that number or it has ended."""
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        started = process.create_time()
    except psutil.NoSuchProcess:
        return None
    if not psutil.LINUX:
        return str(started)
    # ticks since the start of the system: a clock that is set anew changes both times
    return str(round((started - psutil.boot_time()) * os.sysconf("SC_CLK_TCK")))
