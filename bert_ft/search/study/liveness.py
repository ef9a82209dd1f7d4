"""Who runs a trial, and whether they still live: Optuna's own heartbeats do nothing with ask and tell."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bert_ft.search.processes import start_of

HEARTBEAT_SECONDS = 20.0
# three are missed before a process on another machine is taken for dead
GRACE_SECONDS = 3 * HEARTBEAT_SECONDS + 10


@dataclass(frozen=True)
class Owner:
    """A process that runs trials.

    Attributes:
        host: name of its machine.
        space: what tells process numbers of that machine apart: its start and, in a container, the container.
        pid: number of the process.
        started: when it started, as the system has it: numbers are given again.
    """

    host: str
    space: str
    pid: int
    started: str

    @classmethod
    def this_process(cls) -> Owner:
        pid = os.getpid()
        return cls(socket.gethostname(), _pid_space(), pid, start_of(pid) or "")

    @classmethod
    def of(cls, record: Any) -> Owner | None:
        """The owner that ``to_dict`` has described; ``None`` for anything else."""
        try:
            return cls(**record)
        except TypeError:
            return None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def heartbeat_key(self) -> str:
        """Of the study's attribute that says when it was last seen."""
        return f"heartbeat {self.host} {self.pid} {self.started}"


def is_alive(owner: Owner, heartbeats: Mapping[str, Any], now: float) -> bool:
    """Whether the process still runs: on this machine the system knows, of others the heartbeat tells.

    Args:
        owner: the process.
        heartbeats: attributes of the study, those of ``Owner.heartbeat_key`` among them.
        now: the time by the clock of the heartbeats.
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
