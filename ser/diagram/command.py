"""Print the network of params.yaml as a table and draw it: ``python -m ser.diagram``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ser import SerError
from ser.diagram.built import build
from ser.diagram.picture import draw
from ser.diagram.summary import summary, table
from ser.params import load
from ser.runtime.disk import disk_error
from ser.runtime.output import printed
from ser.runtime.text import printable, printable_lines
from ser.views.spectrum import frame_count

LONGEST = 60.0
"""Seconds of the clip that is counted at most: longer ones need gigabytes."""
MOST_CLASSES = 10_000


def main() -> None:
    """Command line: see ``python -m ser.diagram --help``."""
    parser = argparse.ArgumentParser(prog="python -m ser.diagram", description="Print the network of params.yaml as a table and draw it.")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of the clip that is counted (default: 3)")
    parser.add_argument("--classes", type=int, default=None, help="number of classes (default: those of the first of `datasets`)")
    parser.add_argument("--picture", type=Path, default=Path("docs/pictures/network.svg"), help="where to draw it; svg, png or pdf")
    options = parser.parse_args()
    try:
        params = load()
        if not 0 < options.seconds <= LONGEST:
            raise SerError(f"--seconds {options.seconds:g}: allowed are more than 0 and at most {LONGEST:g}")
        if options.classes is not None and not 1 <= options.classes <= MOST_CLASSES:
            raise SerError(f"--classes {options.classes}: allowed are 1 to {MOST_CLASSES}")
        frames = frame_count(int(options.seconds * params.preprocess.sample_rate), params.features.frames)
        if frames < 1:
            raise SerError(f"--seconds {options.seconds:g}: a clip needs at least one frame")
        network = build(params, options.classes)
        parts = summary(network, frames)
        with printed():
            print(f"One clip of {options.seconds:g} s, {frames} frames; {', '.join(params.model.branches)}; fusion {params.model.fusion}.")
            if network.fusion is not None:
                print("\n" + "\n".join(f"    {line}" for line in network.fusion.formula.splitlines()))
            print()
            print(table(parts))
        draw(network, params.model, parts, options.picture)
        print(f"\ndrawn: {printable(str(options.picture))}", file=sys.stderr)
    except SerError as error:
        sys.exit(printable_lines(f"error: {error}"))
    except OSError as error:
        if (told := disk_error(error)) is None:
            raise
        sys.exit(f"error: {printable(told)}")
