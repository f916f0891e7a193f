"""A reproducible laboratory for speech emotion recognition."""


class SerError(Exception):
    """An error that the user can fix: what happened, where, and what to do. Stages print it and exit with
    status 1.
    """
