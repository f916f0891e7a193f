"""Preprocess: packed archives → clips at the working rate, in data/clips/<corpus>/.

With --show CLIP the stage writes no clips. It draws the waveform of one recording, what voice activity detection decides, and the log-mel.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ser.corpora.listing import list_recordings
from ser.params import Params
from ser.runtime.disk import owned
from ser.signal import preprocessing
from stages import command

log = logging.getLogger(__name__)


def main(params: Params, options: argparse.Namespace) -> None:
    """Preprocess the corpus ``options.dataset``, or draw one recording of it."""
    name = options.dataset
    corpus, raw = params.corpora[name], Path("data/raw") / name
    if options.show is not None:
        from ser.report import recording  # matplotlib is needed here only

        found, _ = list_recordings(name, corpus, raw)
        recording.draw(recording.named(options.show, found), params, Path(options.out))
        log.info("%s", options.out)
        return
    summary = preprocessing.build(name, corpus, raw, owned(Path("data/clips"), name), params.preprocess, params.runtime)
    rejected = ", ".join(f"{reason} {count}" for reason, count in summary["rejected"].items()) or "none"
    log.info("%s: %d found = %d kept + rejected (%s)", name, summary["files_found"], summary["kept"], rejected)
    for emotion, share in summary["vad"]["by_emotion"].items():
        log.info(
            "  %s: VAD removed %.1f %% of %d clips, %d without speech", emotion, 100 * share["removed"], share["clips"], share["no_speech"]
        )


if __name__ == "__main__":
    arguments = command.parser(__doc__)
    arguments.add_argument(
        "--show", metavar="CLIP", help="draw this recording (its id, or a part that only it has) instead of preprocessing"
    )
    arguments.add_argument("--out", metavar="FILE.png", default="vad.png", help="where --show draws (default: vad.png)")
    command.run(arguments, main)
