"""What all stage scripts share: arguments, the checked parameters, and errors as one clear message with exit status 1."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from ser import SerError
from ser.params import Params, load


def parser(description: str | None) -> argparse.ArgumentParser:
    """Argument parser with ``--dataset``; a stage with more options adds them before ``run``."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--dataset", required=True, metavar="NAME", help="corpus to work on, a key of `corpora` in params.yaml")
    return made


def run(arguments: argparse.ArgumentParser, stage: Callable[[Params, argparse.Namespace], None]) -> None:
    """Parse the command line, check all of params.yaml before any work, run the stage.

    Errors the user can mend (``SerError``, inputs of a stage that was not run) end in one message and exit status 1, Ctrl-C in 130.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = arguments.parse_args()
    try:
        params = load()
        name = getattr(options, "dataset", None)
        if name is not None and name not in params.corpora:
            raise SerError(f"--dataset {name}: not a corpus in params.yaml; known: {', '.join(params.corpora)}")
        stage(params, options)
    except SerError as error:
        sys.exit(f"error: {error}")
    except FileNotFoundError as error:
        if error.filename is None or Path(error.filename).is_absolute():
            raise
        sys.exit(f"error: {error.filename} not found: it is made by an earlier stage; `dvc repro` runs what is missing")
    except KeyboardInterrupt:
        print("interrupted; a rerun goes on from what is finished", file=sys.stderr)
        sys.exit(130)
