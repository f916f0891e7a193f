"""Imported by the server that forks workers (``ser.runtime.workers``): it removes its folder when it ends.

A server ends when its parent does. One that was killed before a worker had begun would leave the folder for ever.
"""

import atexit
import os
import shutil

FOLDER = "_SER_FOLDER_OF_WORKERS"
"""Environment variable by which the server is told the folder."""

if FOLDER in os.environ:
    atexit.register(shutil.rmtree, os.environ[FOLDER], ignore_errors=True)
