"""Threads on a machine that has other work: how long they spin while waiting, and a warning if there are too many."""

from __future__ import annotations

import logging
import os
import time

import psutil

SPIN = "GOMP_SPINCOUNT"
OWN_CHOICES = (SPIN, "OMP_WAIT_POLICY")  # of a user
# rounds of its waiting loop, before a thread gives its core to others; by default 300,000: long enough to keep two cores from a
# second process for most of the time, and measured no faster on an idle machine than this (benchmarks/busy_machine.py)
SHORT_SPIN = "1000"
LEAST_SECONDS = 0.5  # shorter, the processor times, which come in hundredths, say little

log = logging.getLogger(__name__)


def spin_shortly() -> None:
    """Let waiting threads spin only briefly; OpenMP's library (libgomp) reads this setting when torch is loaded."""
    if not any(name in os.environ for name in OWN_CHOICES):
        os.environ[SPIN] = SHORT_SPIN


class OtherWork:
    """Processor use of other processes, measured from now on."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._before = self._seconds()

    def warn_if_crowded(self, threads: int) -> None:
        """Warn if there are more threads than free cores."""
        elapsed, (all_now, own_now) = time.monotonic() - self._started, self._seconds()
        if elapsed < LEAST_SECONDS:
            return
        all_before, own_before = self._before
        num_cores = len(_cores())
        others = max(0.0, (all_now - all_before) - (own_now - own_before)) / elapsed
        fitting = max(1, round(num_cores - others))
        if threads > fitting:
            log.warning(
                f"other processes keep about {others:.1f} of {num_cores} cores busy, and {threads} threads would wait for "
                f"each other: OMP_NUM_THREADS={fitting} may be faster"
            )

    @staticmethod
    def _seconds() -> tuple[float, float]:
        """Return processor seconds so far: of everything on the cores that this process may use, and of this process."""
        each = psutil.cpu_times(percpu=True)
        busy = sum(
            sum(each[core]) - each[core].idle - getattr(each[core], "iowait", 0.0) for core in _cores()
        )
        return busy, time.process_time()


def _cores() -> list[int]:
    """Return the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
