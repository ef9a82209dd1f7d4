"""The error for a part that a report leaves out."""


class NotLogged(Exception):  # noqa: N818 (not an error: a run logs what is configured)
    """The run didn't log the values for a part of the report; the message names them."""
