"""What a user can get wrong: each error says where, what came, what is allowed and what to do.

All are ``ValueError``s, so that a caller who knows nothing of this package can still catch them.
The command line prints their message without a traceback and exits with code 2.
"""


class UserError(ValueError):
    """Base of the errors whose cause lies in what the user gave."""


class ConfigError(UserError):
    """A configuration key is unknown, of the wrong type, out of range or at odds with another."""


class DataError(UserError):
    """A file, row, column or label can't be used."""


class CheckpointError(UserError):
    """An encoder, a checkpoint or a saved folder can't be loaded."""


class SearchError(UserError):
    """A hyper-parameter search can't go on."""


class OutputError(OSError):
    """A file can't be written; the command line prints one line and exits with code 1."""


class Interrupted(SystemExit):
    """A signal ended the run; the process ends with 128 plus the signal's number unless this is caught."""
