"""List the fusions with their formulas: ``python -m ser.model.fusions``."""

from __future__ import annotations

import argparse

from ser.model.fusion import load
from ser.params.model import FUSIONS
from ser.runtime.output import printed


def main() -> None:
    """Command line: see ``python -m ser.model.fusions --help``."""
    parser = argparse.ArgumentParser(prog="python -m ser.model.fusions", description="List the fusions with their formulas.")
    parser.add_argument("--names", action="store_true", help="print the names alone, with commas, as `dvc exp run --queue -S` takes them")
    options = parser.parse_args()
    with printed():
        if options.names:
            print(",".join(FUSIONS.names()))
            return
        for name in FUSIONS.names():
            print(name)
            for line in load(name).formula.splitlines():
                print(f"    {line}")
