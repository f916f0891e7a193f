"""A reproducible laboratory for speech emotion recognition. ``from ser import load`` opens a trained model (docs/python.md)."""

import importlib


class SerError(Exception):
    """An error that the user can mend: the message says what happened, where, and what to do. Stages print it and exit 1."""


def __getattr__(name: str) -> object:
    """``load`` (``ser.serving.recogniser``) on its first use: the stages, which import this module too, need nothing of it.

    ``ser/__init__.pyi`` tells type checkers its type.
    """
    if name == "load":
        return importlib.import_module("ser.serving.recogniser").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
