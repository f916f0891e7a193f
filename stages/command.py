"""What all stage scripts share: arguments, checked parameters, and errors as one message with status 1."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from ser import SerError
from ser.params import Params, ParamsError, load
from ser.runtime import kernels
from ser.runtime.disk import disk_error
from stages import changes


def parser(description: str | None) -> argparse.ArgumentParser:
    """Argument parser with ``--dataset``. A stage adds its own options before ``run``."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--dataset", required=True, metavar="NAME", help="corpus to work on, a key of `corpora` in params.yaml")
    return made


def say_changes() -> None:
    """Say on stderr which parameters differ from the last commit: an earlier experiment may have left them so."""
    if said := changes.line():
        print(said, file=sys.stderr)


def run(arguments: argparse.ArgumentParser, stage: Callable[[Params, argparse.Namespace], None]) -> None:
    """Parse the command line, check all of params.yaml before any work, run the stage.

    Errors that the user can fix (``SerError``, a missing output of an earlier stage, a full or read-only disk)
    end with one message and exit status 1, Ctrl-C with 130, SIGTERM with 143.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that partial folders and worker processes are cleared away
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = arguments.parse_args()
    try:
        kernels.check()
        params = load()
        name = getattr(options, "dataset", None)
        if name is not None and name not in params.corpora:
            raise SerError(f"--dataset {name}: not a corpus in params.yaml; known: {', '.join(params.corpora)}")
        stage(params, options)
    except ParamsError as error:
        sys.exit("\n".join(filter(None, [f"error: {error}", changes.line()])))
    except SerError as error:
        sys.exit(f"error: {error}")
    except FileNotFoundError as error:
        if error.filename is None and str(error.strerror).startswith("No usable temporary directory"):
            sys.exit(f"error: {error.strerror}: set TMPDIR to a folder that can be written")
        if error.filename is None or Path(error.filename).is_absolute():
            raise
        sys.exit(f"error: {error.filename} not found: an earlier stage writes it; `dvc repro` runs the missing stages")
    except OSError as error:
        if (told := disk_error(error)) is None:
            raise
        sys.exit(f"error: {told}")
    except KeyboardInterrupt:
        print("interrupted; a rerun resumes from what is finished", file=sys.stderr)
        sys.exit(130)
