"""The published corpora that the laboratory knows, one module each.

To add a corpus, add a module that defines ``CORPUS``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from ser import SerError
from ser.corpora.description import Description


@cache
def catalogue() -> Mapping[str, Description]:
    """Key in ``params.yaml`` → description, from all modules of this package in alphabetical order.

    Raises:
        SerError: if a module has no ``CORPUS``, or two modules describe a corpus of the same name.
    """
    known: dict[str, Description] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        corpus = getattr(import_module(f"{__name__}.{name}"), "CORPUS", None)
        if not isinstance(corpus, Description):
            raise SerError(f"ser/corpora/catalogue/{name}.py must define CORPUS, a ser.corpora.description.Description")
        if twice := [key for key in corpus.names if key in known]:
            raise SerError(f"ser/corpora/catalogue/{name}.py: another module already describes the corpus {twice[0]}")
        known |= dict.fromkeys(corpus.names, corpus)
    return known
