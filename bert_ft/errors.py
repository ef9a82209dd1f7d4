"""User errors; each message says where the mistake is, what was found, what is allowed and what to do.

All are ``ValueError``s, so that a caller who doesn't know this package can catch them.
The command line prints their message without a traceback and exits with code 2.
"""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# errors of a file system that is full, read-only or gone
UNWRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EFBIG,
    errno.ESTALE,
}
# files that couldn't be written although the work was done; the command then exits with code 1
unwritten: list[OSError] = []


class UserError(ValueError):
    """Base class of errors caused by the user's input."""


class ConfigError(UserError):
    """A configuration key is unknown, has a wrong type or value, or contradicts another."""


class DataError(UserError):
    """A file, row, column or label can't be used."""


class CheckpointError(UserError):
    """An encoder, a checkpoint or a saved folder can't be loaded."""


class SearchError(UserError):
    """A hyper-parameter search can't start or continue."""


class OutageError(SearchError):
    """A search's database has been unusable for too long."""


class TrialLostError(SearchError):
    """The process of a trial was killed."""


class OutputError(OSError):
    """A file can't be written; the command line prints one line and exits with code 1."""


def is_unwritable(error: BaseException) -> bool:
    """Return whether a file couldn't be written; other errors are faults of this package."""
    return isinstance(error, OutputError) or (isinstance(error, OSError) and error.errno in UNWRITABLE)


def what_is_unwritable(error: OSError, folder: object = None) -> str:
    """Return the line that says what couldn't be written; ``folder`` is used if the error doesn't name a file."""
    if isinstance(error, OutputError):
        return str(error)
    where = error.filename or ("a file" if folder is None else f"a file in {folder}")
    return f"{where}: {os.strerror(error.errno or 0)}"


class Interrupted(SystemExit):
    """A signal ended the run; the process ends with 128 plus the signal's number unless this is caught."""


# their errors are about the configuration, or about things outside of this process
_LIBRARIES = {"hydra", "omegaconf", "optuna", "sqlalchemy", "sqlite3", "antlr4", "yaml"}


def is_of_a_library(error: BaseException) -> bool:
    """Return whether the error comes from Hydra, OmegaConf, Optuna or SQLAlchemy, or from invalid YAML."""
    return any(base.__module__.split(".")[0] in _LIBRARIES for base in type(error).__mro__)


def in_one_line(error: BaseException) -> str:
    """Return the error's message in one line; for a wrapped database error, the message of its driver."""
    while error.__cause__ is not None and type(error).__module__.startswith(("optuna", "sqlalchemy")):
        error = error.__cause__
    said = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    return " ".join(lines) or type(error).__name__


@contextmanager
def noting_unwritten() -> Iterator[None]:
    """Record write errors of threads instead of printing a traceback; TensorBoard's thread raises its error again later."""
    unwritten.clear()
    before = threading.excepthook

    def note(failed: threading.ExceptHookArgs) -> None:
        if isinstance(failed.exc_value, OSError) and is_unwritable(failed.exc_value):
            unwritten.append(failed.exc_value)
        else:
            before(failed)

    threading.excepthook = note
    try:
        yield
    finally:
        threading.excepthook = before
