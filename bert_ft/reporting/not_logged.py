"""What a report leaves out."""


class NotLogged(Exception):  # noqa: N818 (not an error: a run logs what is configured)
    """The run didn't log what a part of the report shows; the message says what."""
