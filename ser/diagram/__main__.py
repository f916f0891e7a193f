"""Print the network of params.yaml as a table and draw it: ``python -m ser.diagram``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ser import SerError
from ser.diagram.picture import draw
from ser.diagram.summary import summary, table
from ser.encoders import frozen
from ser.encoders import table as encoders
from ser.encoders.cutting import HOP
from ser.encoders.frozen import RATE
from ser.model import fusion
from ser.model.encoder_branch import EncoderInput, TokenRate
from ser.model.network import Network
from ser.params import Params, load
from ser.runtime.disk import disk_error
from ser.runtime.machine import at_home
from ser.runtime.output import printed
from ser.runtime.text import printable
from ser.views.features import widths
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
        sys.exit(f"error: {error}")
    except OSError as error:
        if (told := disk_error(error)) is None:
            raise
        sys.exit(f"error: {printable(told)}")


def build(params: Params, classes: int | None = None) -> Network:
    """The network of a whole parameter file, for the classes of its first corpus unless a number is given."""
    fusion.load(params.model.fusion).check(params.model)
    classes = classes or len(params.corpora[params.datasets[0]].labels.classes)
    return Network(params.model, widths(params.features), classes, encoder_input(params), params.train.warm_start == "linear")


def encoder_input(params: Params) -> EncoderInput | None:
    """What the branch ``encoder`` would be fed with, from the table of encoders or the folder that is named; None without the branch.

    Raises:
        SerError: if the encoder is unknown, or its folder has no ``config.json``.
    """
    asked = params.features.encoder
    if asked is None or params.model.reads_encoder != "states":
        return None
    if asked.path is not None:
        width, per_second = frozen.size(frozen.read_config(at_home(asked.path)))[1], RATE / HOP
    else:
        row = encoders.row(asked.name)
        width, per_second = row.width, row.frames_per_second
    rate = TokenRate.of(params.features.frames.hop_length, per_second, params.preprocess.sample_rate)
    return EncoderInput(len(asked.layers), width, rate)


if __name__ == "__main__":
    main()
