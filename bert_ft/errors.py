"""Errors of a user; each message says where, what was found, what is allowed and what to do.

All are ``ValueError``s, so that a caller who doesn't know this package can catch them.
The command line prints their message without a traceback and exits with code 2.
"""


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


class OutputError(OSError):
    """A file can't be written; the command line prints one line and exits with code 1."""


class Interrupted(SystemExit):
    """A signal ended the run; the process ends with 128 plus the signal's number unless this is caught."""
