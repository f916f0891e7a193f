"""Commands whose imports take seconds."""

from __future__ import annotations

import importlib
import sys

from ser.runtime.signals import deferred


def run(module: str) -> None:
    """Import a module and call its ``main``. Ctrl-C ends it with status 130, also during the import.

    It waits for the end of the import: torch ends the process by SIGABRT where one comes while its C++ is set up.
    """
    try:
        with deferred():
            imported = importlib.import_module(module)
        imported.main()
    except KeyboardInterrupt:
        sys.exit(130)
