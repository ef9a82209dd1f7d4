"""Outages of the database: failed calls are repeated until it answers, and the user is informed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy.exc
from optuna.exceptions import StorageInternalError

from bert_ft.errors import OutageError, in_one_line

MOST_SECONDS = 600.0  # of an outage, before the search ends
SECONDS_BETWEEN = 1.0
# SQLite's messages for a lock, a full disk or a missing one; its other errors don't pass by themselves
_OF_A_FILE = ("locked", "is full", "disk i/o error", "unable to open", "readonly", "busy")

T = TypeVar("T")
log = logging.getLogger(__name__)
_state = threading.local()
_may_wait = True


def stop_waiting() -> None:
    """Raise later outages as errors at once, since the search is ending."""
    global _may_wait
    _may_wait = False


def repeated(call: Callable[[], T]) -> T:
    """Return what ``call`` returns; during an outage call it again.

    Raises:
        OutageError: the outage has lasted for ``MOST_SECONDS``.
    """
    if getattr(_state, "is_inside", False):
        return call()  # the outer one calls again
    began = None
    while True:
        _state.is_inside = True
        try:
            result = call()
        except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
            if (reason := reason_of_outage(error)) is None:
                raise
            now = time.monotonic()
            if began is None:
                began = now
                if _may_wait:
                    log.warning(
                        f"The database of the search can't be used: {reason}; waiting for it, at most "
                        f"{MOST_SECONDS / 60:g} minutes"
                    )
            if not _may_wait or now - began >= MOST_SECONDS:
                waited = f" for {MOST_SECONDS / 60:g} minutes" if _may_wait else ""
                raise OutageError(f"The database of the search can't be used{waited}: {reason}") from error
        else:
            if began is not None:
                log.warning(f"The database can be used again, after {time.monotonic() - began:.0f} seconds")
            return result
        finally:
            _state.is_inside = False
        time.sleep(SECONDS_BETWEEN)


def reason_of_outage(error: BaseException) -> str | None:
    """Return the database's message if the fault may pass by itself; ``None`` for another error."""
    cause: Any = error
    while isinstance(cause, StorageInternalError) and cause.__cause__ is not None:
        cause = cause.__cause__
    said = in_one_line(cause)
    if isinstance(cause, OSError):
        return said
    if not isinstance(cause, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError):
        return said if getattr(cause, "connection_invalidated", False) else None
    is_file = type(cause.orig).__module__ == "sqlite3"
    return said if not is_file or any(words in said.lower() for words in _OF_A_FILE) else None
