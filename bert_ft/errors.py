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


class OutageError(SearchError):
    """The database of a search can't be reached or written for too long."""


class TrialLostError(SearchError):
    """The process of a trial was killed."""


class OutputError(OSError):
    """A file can't be written; the command line prints one line and exits with code 1."""


class Interrupted(SystemExit):
    """A signal ended the run; the process ends with 128 plus the signal's number unless this is caught."""


# whose errors are about what was configured, or about what is outside of this process
_LIBRARIES = {"hydra", "omegaconf", "optuna", "sqlalchemy", "sqlite3", "antlr4", "yaml"}


def is_of_a_library(error: BaseException) -> bool:
    """Return whether the error is one of Hydra's, OmegaConf's, Optuna's or SQLAlchemy's, or a file's that isn't yaml."""
    return any(base.__module__.split(".")[0] in _LIBRARIES for base in type(error).__mro__)


def in_one_line(error: BaseException) -> str:
    """Return what an error says; of a wrapped error of a database what its driver said."""
    while error.__cause__ is not None and type(error).__module__.startswith(("optuna", "sqlalchemy")):
        error = error.__cause__
    said = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    return " ".join(lines) or type(error).__name__
