"""A reproducible laboratory for speech emotion recognition."""


class SerError(Exception):
    """An error that the user can mend: the message says what happened, where, and what to do. Stages print it and exit 1."""
