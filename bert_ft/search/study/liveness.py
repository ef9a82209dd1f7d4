"""Which process runs a trial, and whether it is still alive: Optuna's heartbeats do nothing with ask and tell."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bert_ft.search.processes import start_of

HEARTBEAT_SECONDS = 20.0
# a process on another machine counts as dead after three missed heartbeats
GRACE_SECONDS = 3 * HEARTBEAT_SECONDS + 10


@dataclass(frozen=True)
class Owner:
    """A process that runs trials."""

    host: str  # name of its machine
    space: str  # boot and, in a container, PID namespace: within them a number names one process
    pid: int
    started: str  # see ``start_of``: numbers are reused

    @classmethod
    def this_process(cls) -> Owner:
        pid = os.getpid()
        return cls(socket.gethostname(), _pid_space(), pid, start_of(pid) or "")

    @classmethod
    def of(cls, record: Any) -> Owner | None:
        """Return the owner that ``to_dict`` described; ``None`` for anything else."""
        try:
            return cls(**record)
        except TypeError:
            return None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def heartbeat_key(self) -> str:
        """Name of the study's attribute with the time of the last heartbeat."""
        return f"heartbeat {self.host} {self.pid} {self.started}"


def is_alive(owner: Owner, heartbeats: Mapping[str, Any], now: float) -> bool:
    """Return whether the process still runs: known for this machine, judged by the heartbeat for others.

    ``heartbeats`` are the study's attributes; ``now`` is in seconds on their clock.
    """
    here = Owner.this_process()
    if (owner.host, owner.space) == (here.host, here.space):
        return start_of(owner.pid) == owner.started
    return now - float(heartbeats.get(owner.heartbeat_key, 0.0)) < GRACE_SECONDS


def _pid_space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return ""
