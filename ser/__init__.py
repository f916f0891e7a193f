"""A reproducible laboratory for speech emotion recognition. ``from ser import load`` opens a trained model (docs/python.md)."""

import importlib
import os

# onnxruntime sends reports of its use to its maker, unless this is set before it is imported. Nobody asked the user.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.2.0"


class SerError(Exception):
    """An error that the user can fix: what happened, where, and what to do. Stages print it and exit with status 1."""


def __getattr__(name: str) -> object:
    """Import ``load`` (``ser.serving.recogniser``) on first use, because the stages, which import this module, do not need it.

    ``ser/__init__.pyi`` tells type checkers its type.
    """
    if name == "load":
        return importlib.import_module("ser.serving.recogniser").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
