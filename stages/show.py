"""Draw one recording of a downloaded corpus: its waveform, the detected speech, and its log-mel.

    python -m stages.show --dataset demo 03-01-05 --out angry.png

Not a stage of dvc.yaml: it reads data/raw/<corpus> and writes the picture alone.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ser.corpora.listing import list_recordings
from ser.diagram import recording
from ser.params import Params
from stages import command
from stages.paths import Paths

log = logging.getLogger(__name__)


def main(params: Params, options: argparse.Namespace) -> None:
    """Draw the recording that ``options.clip`` names."""
    recordings, _ = list_recordings(options.dataset, params.corpora[options.dataset], Paths(options.dataset).raw)
    recording.draw(recording.named(options.clip, recordings), params, Path(options.out))
    log.info("%s", options.out)


if __name__ == "__main__":
    arguments = command.parser(__doc__)
    arguments.add_argument("clip", metavar="CLIP", help="id of the recording, or a part that only one id has")
    arguments.add_argument("--out", metavar="FILE.png", default="recording.png", help="picture to write (default: recording.png)")
    command.run(arguments, main)
