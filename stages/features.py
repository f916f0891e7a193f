"""Clips → the views of every clip (and openSMILE's functionals), packed: data/features/<corpus>/."""

from __future__ import annotations

import argparse
import logging

from ser.params import Params
from ser.views import extraction, features
from stages import command
from stages.paths import Paths, needed

log = logging.getLogger(__name__)


def main(params: Params, options: argparse.Namespace) -> None:
    """Compute the features of the corpus ``options.dataset``."""
    name, rate, paths = options.dataset, params.preprocess.sample_rate, Paths(options.dataset)
    needed(paths.clips / "clips.csv", f"preprocess@{name}")
    for view, count in features.empty_bands(rate, params.features).items():
        if count:
            log.warning("features.%s: %d bands lie between two FFT bins and stay at the floor; fewer n_mels or a larger n_fft", view, count)
    frames = extraction.build(paths.clips, paths.features, rate, params.features, params.runtime)
    log.info(
        "%s: %d frames, %s", name, frames, ", ".join(f"{view} {width} wide" for view, width in features.widths(params.features).items())
    )


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
