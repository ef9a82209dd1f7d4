"""Handle Ctrl-C, SIGTERM and a closed terminal; a second signal ends the process."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Any

from bert_ft.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# a terminal, and a launcher that passes signals on, send the same Ctrl-C within a moment: that isn't a second one
SAME_SECONDS = 0.2
# whether a caller in Python runs the work: a signal then ends the call, and never the process at once
_in_a_call: ContextVar[bool] = ContextVar("in_a_call", default=False)
_WAIT = "interrupted: finishing and saving this step first; interrupt again to end at once"


class Signals:
    """The received signal, and the effect of the next one.

    Args:
        last_words: called by ``ending_at_once`` just before the process ends.

    Attributes:
        received: the first signal; ``None`` if there was none.
        waits: whether the first signal is only recorded.
        ends_process: whether the first signal ends the process immediately.
        in_a_call: whether the second signal raises ``KeyboardInterrupt`` instead of ending the process; see ``ending_the_call``.
    """

    def __init__(self, last_words: Callable[[], None] = lambda: None) -> None:
        self.received: signal.Signals | None = None
        self.waits = False
        self.ends_process = False
        self.in_a_call = _in_a_call.get()
        self._last_words = last_words
        self._taken: list[signal.Signals] = []
        self._process = os.getpid()
        self._since = 0.0

    def install(self) -> None:
        """Install the handlers, again if another library has replaced them."""
        for number in self._taken:
            signal.signal(number, self._handle)

    def end(self) -> None:
        """Raise the exception for the received signal.

        Raises:
            Interrupted: always.
        """
        assert self.received is not None
        raise Interrupted(128 + self.received)

    def end_if_received(self) -> None:
        """Raise ``Interrupted`` if a signal was received; a library may have caught the exception raised before."""
        if self.received is not None:
            self.end()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked child; its parent receives Ctrl-C as well
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if self.received is not None:
            if time.monotonic() - self._since > SAME_SECONDS:
                if self.in_a_call:
                    raise KeyboardInterrupt
                os._exit(128 + number)
            return
        self.received, self._since = signal.Signals(number), time.monotonic()
        if self.ends_process:
            self._last_words()
            os._exit(128 + number)
        if not self.waits:
            self.end()
        say(_WAIT)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Inside the context, handle the signals that nothing else handles; they still end trials of a search as usual.

        Raises:
            Interrupted: a library failed to tidy up after an ``Interrupted`` that was raised inside the context.
        """
        is_main = threading.current_thread() is threading.main_thread()
        before = {number: signal.getsignal(number) for number in SIGNALS} if is_main else {}
        if before.get(signal.SIGINT) is not signal.SIG_DFL:  # as it is in a trial
            self._taken = [number for number, handler in before.items() if _is_free(handler)]
        self.install()
        try:
            yield
        except Exception as error:
            if (interruption := _interruption_before(error)) is not None:
                raise interruption from error
            raise
        finally:
            for number in self._taken:
                signal.signal(number, before[number])
            self._taken = []


@contextmanager
def ending_the_call() -> Iterator[None]:
    """Inside the context, Ctrl-C (in a notebook the stop button) ends as ``KeyboardInterrupt``; nothing ends the process at once.

    Raises:
        KeyboardInterrupt: Ctrl-C was received.
    """
    token = _in_a_call.set(True)
    try:
        yield
    except Interrupted as error:
        if error.code == 128 + signal.SIGINT:
            raise KeyboardInterrupt from error
        raise
    finally:
        _in_a_call.reset(token)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let a signal end the process immediately, inside the context.

    This is for imports: there is nothing to lose, and libraries catch any exception raised in them.
    """
    handlers = (signal.getsignal(number) for number in SIGNALS)
    owners = {
        owner for handler in handlers if isinstance(owner := getattr(handler, "__self__", None), Signals)
    }
    for owner in owners:
        owner.ends_process = True
    try:
        yield
    finally:
        for owner in owners:
            owner.ends_process = False


def end_quietly_on_interrupt() -> None:
    """Let Ctrl-C end the process with a short message instead of a traceback, before and after a command does its work."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_quietly)


def raise_on_interrupt() -> None:
    """Let Ctrl-C raise ``KeyboardInterrupt`` again, after ``end_quietly_on_interrupt``."""
    if signal.getsignal(signal.SIGINT) is _end_quietly:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def shield_worker() -> None:
    """Ignore signals sent to all processes of a run, since the main process still needs this worker to finish a step.

    SIGTERM from its parent still ends it.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_for_parent, daemon=True).start()


def say(text: str) -> None:
    """Print to the terminal, unless it is closed."""
    with suppress(OSError, ValueError):
        print(f"\n{text}", file=sys.stderr, flush=True)


def _end_for_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _interruption_before(error: BaseException) -> Interrupted | None:
    """Return the signal's exception that was being handled when ``error`` was raised."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Interrupted):
        cause = cause.__context__
    return cause


def _end_quietly(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"\ninterrupted\n")
    os._exit(128 + number)


def _is_free(handler: Any) -> bool:
    """Return whether a handler may be replaced: Python's own, or one of this package."""
    is_default = handler in (signal.SIG_DFL, signal.default_int_handler, _end_quietly)
    return is_default or isinstance(getattr(handler, "__self__", None), Signals)


def end_if_unread(error: BrokenPipeError) -> None:
    """End quietly if standard output has lost its reader, as in ``bert_ft train --help | head``; otherwise raise the error."""
    if not _has_lost_reader():
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
    sys.exit(128 + signal.SIGPIPE)


def _has_lost_reader() -> bool:
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError, ValueError):  # Windows, or a stream without a file
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))
