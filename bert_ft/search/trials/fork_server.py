"""A process that has everything loaded and forks a clean child for each job.

A child starts in milliseconds instead of importing for seconds, and shares loaded memory with the others. It may crash, leak
or be killed without harm to the rest. The server itself runs no job, has one thread, and never touches a GPU,
since threads, locks and CUDA don't survive a fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import multiprocessing
import os
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Send = Callable[[dict[str, Any]], None]

_PR_SET_PDEATHSIG = 1
# up to this size a write to a pipe isn't mixed with other writes
_LONGEST_MESSAGE = select.PIPE_BUF
_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Message:
    """Sent by a job, or by the preparation (job ``None``)."""

    job: int | None
    content: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """A job's process has ended; ``code`` is its exit code, or minus the signal that ended it."""

    job: int
    code: int


class ForkServer:
    """Runs jobs in children of a prepared process.

    Args:
        prepare: called once, in the server: imports what jobs need. Its messages have the job ``None``.
        run: called in the child with the submitted content and a function that sends messages.
    """

    def __init__(self, prepare: Callable[[Send], None], run: Callable[[dict[str, Any], Send], None]) -> None:
        self._prepare = prepare
        self._run = run
        self._process: Any = None
        self._commands = self._events = -1
        self._unread = b""
        self._jobs: set[int] = set()

    def start(self) -> None:
        """Fork the server; call it while the process has one thread and no open database."""
        sys.stdout.flush()
        sys.stderr.flush()
        commands, self._commands = os.pipe()
        self._events, events = os.pipe()
        os.set_blocking(self._events, False)
        server = _Server(self._prepare, self._run, commands, events, close=(self._commands, self._events))
        self._process = _fork.Process(target=server.serve, args=(os.getpid(),), name="fork server")
        self._process.start()
        os.close(commands)
        os.close(events)

    @property
    def jobs(self) -> frozenset[int]:
        """The running jobs."""
        return frozenset(self._jobs)

    def submit(self, job: int, content: dict[str, Any]) -> None:
        """Run a job; use each number once."""
        self._jobs.add(job)
        self._write({"job": job, "content": content})

    def kill(self, job: int) -> None:
        """Kill a job's process and its children."""
        self._write({"kill": job})

    def _write(self, command: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the server has died; ``wait`` notices
            _write_all(self._commands, json.dumps(command).encode() + b"\n")

    def wait(self, timeout: float) -> list[Message | Ended]:
        """Return new events, after at most ``timeout`` seconds.

        If the server dies, its jobs die with it and get its exit code; another server is started.
        """
        select.select([self._events], [], [], timeout)
        found = self._read()
        if self._process.exitcode is not None:
            found += self._read()
            known = {event.job for event in found if isinstance(event, Ended)}
            found += [Ended(job, self._process.exitcode) for job in sorted(self._jobs - known)]
            self.stop()
            self.start()
        self._jobs -= {event.job for event in found if isinstance(event, Ended)}
        return found

    def _read(self) -> list[Message | Ended]:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._events, 1 << 16):
                self._unread += data
        *lines, self._unread = self._unread.split(b"\n")
        events = [json.loads(line) for line in lines]
        return [Ended(**event) if "code" in event else Message(**event) for event in events]

    def stop(self) -> None:
        """Stop the server and its jobs."""
        if self._process is None:
            return
        os.close(self._commands)  # ends the server, unless it is still preparing
        self._process.join(timeout=10 if self._jobs else 0)
        if self._process.exitcode is None:
            self._process.kill()
            _kill_group(self._process.pid)
            self._process.join()
        os.close(self._events)
        self._process, self._unread = None, b""


@dataclass
class _Server:
    """The part that runs in the forked process."""

    prepare: Callable[[Send], None]
    run: Callable[[dict[str, Any], Send], None]
    commands: int
    events: int
    close: tuple[int, ...]
    children: dict[int, Any] = field(default_factory=dict)
    unread: bytes = b""

    def serve(self, parent: int) -> None:
        end_with(parent)
        os.setpgid(0, 0)  # only the caller receives an interrupt at the terminal
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for descriptor in self.close:
            os.close(descriptor)
        self.prepare(self._sender(None))
        gc.collect()
        gc.freeze()  # a collection in a child would copy every page that it visits
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self.commands, woken], [], [])
            if woken in ready:
                os.read(woken, 1 << 12)
                self._reap()
            if self.commands in ready and not self._obey():
                break
        for job in list(self.children):
            self._kill(job)

    def _obey(self) -> bool:
        """Execute new commands, and return whether the caller still exists."""
        data = os.read(self.commands, 1 << 16)
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if "kill" in command:
                self._kill(command["kill"])
            else:
                self._start(command["job"], command["content"])
        return bool(data)

    def _start(self, job: int, content: dict[str, Any]) -> None:
        child = _fork.Process(
            target=self._child, args=(os.getpid(), content, self._sender(job)), name=f"job {job}"
        )
        child.start()
        self.children[job] = child

    def _child(self, parent: int, content: dict[str, Any], send: Send) -> None:
        end_with(parent)
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self.commands)
        gc.enable()
        self.run(content, send)

    def _sender(self, job: int | None) -> Send:
        def send(content: dict[str, Any]) -> None:
            text = json.dumps({"job": job, "content": content}, ensure_ascii=False)
            message = text.encode(errors="replace") + b"\n"
            assert len(message) <= _LONGEST_MESSAGE, f"a message of {len(message)} bytes"
            _write_all(self.events, message)

        return send

    def _reap(self) -> None:
        for job, child in list(self.children.items()):
            if child.exitcode is not None:
                del self.children[job]
                _kill_group(child.pid)  # what it left running
                ended = json.dumps({"job": job, "code": child.exitcode})
                _write_all(self.events, ended.encode() + b"\n")

    def _kill(self, job: int) -> None:
        if job in self.children:
            os.kill(self.children[job].pid, signal.SIGKILL)
            _kill_group(self.children[job].pid)


def end_with(parent: int) -> None:
    """Make the system kill this process when its parent ends for any reason (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
