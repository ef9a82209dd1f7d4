"""A process that has everything loaded and forks a clean child for each job.

A child begins in milliseconds where a new process would import for seconds, and shares with the others what was loaded.
It may crash, leak or be killed without harm to anyone else. For that the server itself runs no job, has one
thread, and never touches a GPU: threads, locks and CUDA don't survive a fork.
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
from dataclasses import dataclass
from typing import Any

Send = Callable[[dict[str, Any]], None]

_PR_SET_PDEATHSIG = 1
# what is written to a pipe at once up to this size isn't mixed with what others write
_LONGEST_MESSAGE = select.PIPE_BUF
_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Message:
    """What a job, or the preparation (job ``None``), says."""

    job: int | None
    content: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """A job's process has ended; ``code``: as of ``subprocess``, a signal negative."""

    job: int
    code: int


class ForkServer:
    """Runs jobs in children of a prepared process; the caller needn't be prepared itself.

    Args:
        prepare: called once, in the server: imports what jobs need. What it sends arrives as a message of job ``None``.
        run: called in the child with what was submitted and a function that sends messages.
    """

    def __init__(self, prepare: Callable[[Send], None], run: Callable[[dict[str, Any], Send], None]) -> None:
        self._prepare = prepare
        self._run = run
        self._process: Any = None
        self._commands = self._events = -1
        self._unread = b""
        self._jobs: set[int] = set()

    def start(self) -> None:
        """Fork the server; while the caller has one thread and no open database."""
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
        """The jobs that run."""
        return frozenset(self._jobs)

    def submit(self, job: int, content: dict[str, Any]) -> None:
        """Run a job; a number is given once."""
        self._jobs.add(job)
        self._write({"job": job, "content": content})

    def kill(self, job: int) -> None:
        """End a job's process, and those that it has started."""
        self._write({"kill": job})

    def _write(self, command: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the server has died, which ``wait`` tells
            _write_all(self._commands, json.dumps(command).encode() + b"\n")

    def wait(self, timeout: float) -> list[Message | Ended]:
        """What has happened meanwhile, after ``timeout`` seconds at the latest.

        A server that dies takes its jobs with it, and they end as it did. Another one is started.
        """
        select.select([self._events], [], [], timeout)
        found = self._read()
        if self._process.exitcode is not None:
            found += self._read()
            told = {event.job for event in found if isinstance(event, Ended)}
            found += [Ended(job, self._process.exitcode) for job in sorted(self._jobs - told)]
            self.stop()
            self.start()
        self._jobs -= {event.job for event in found if isinstance(event, Ended)}
        return found

    def _read(self) -> list[Message | Ended]:
        while True:
            try:
                data = os.read(self._events, 1 << 16)
            except BlockingIOError:
                break
            if not data:
                break
            self._unread += data
        *lines, self._unread = self._unread.split(b"\n")
        found: list[Message | Ended] = []
        for line in lines:
            event = json.loads(line)
            if "ended" in event:
                found.append(Ended(event["ended"], event["code"]))
            else:
                found.append(Message(event["job"], event["content"]))
        return found

    def stop(self) -> None:
        """End the server and its jobs."""
        if self._process is None:
            return
        os.close(self._commands)  # upon which it ends, but not while it prepares
        self._process.join(timeout=10 if self._jobs else 0)
        if self._process.exitcode is None:
            self._process.kill()
            _kill_group(self._process.pid)
            self._process.join()
        os.close(self._events)
        self._process, self._unread = None, b""


class _Server:
    """The other side: runs in the forked process."""

    def __init__(
        self,
        prepare: Callable[[Send], None],
        run: Callable[[dict[str, Any], Send], None],
        commands: int,
        events: int,
        close: tuple[int, ...],
    ) -> None:
        self.prepare = prepare
        self.run = run
        self.commands = commands
        self.events = events
        self.close = close
        self.children: dict[int, Any] = {}
        self.unread = b""

    def serve(self, parent: int) -> None:
        end_with(parent)
        os.setpgid(0, 0)  # an interrupt at the terminal is the caller's to judge
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for descriptor in self.close:
            os.close(descriptor)
        self.prepare(self._sender(None))
        gc.collect()
        gc.freeze()  # a collection in a child would copy every page that it looks at
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
        """Do what has been asked for; whether the caller is still there."""
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
                _kill_group(child.pid)  # what it has left running
                ended = json.dumps({"ended": job, "code": child.exitcode})
                _write_all(self.events, ended.encode() + b"\n")

    def _kill(self, job: int) -> None:
        if job in self.children:
            os.kill(self.children[job].pid, signal.SIGKILL)
            _kill_group(self.children[job].pid)


def end_with(parent: int) -> None:
    """Let the system kill this process when its parent ends, however that ends (Linux)."""
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
