"""What a report has to leave out."""


class NotLogged(Exception):  # noqa: N818 (no fault: a run logs what it is told to)
    """A part of the report can't be made, because the run didn't log what it shows; the message says what."""
