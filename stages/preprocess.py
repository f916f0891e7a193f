"""Preprocess: packed archives → clips at the working rate, in data/clips/<corpus>/.

``python -m stages.show`` draws one recording.
"""

from __future__ import annotations

import argparse
import logging

from ser.params import Params
from ser.runtime.disk import owned
from ser.signal import preprocessing
from stages import command
from stages.paths import Paths
from stages.recordings import warn_if_stale

log = logging.getLogger(__name__)


def main(params: Params, options: argparse.Namespace) -> None:
    """Preprocess the corpus ``options.dataset``."""
    name, paths = options.dataset, Paths(options.dataset)
    warn_if_stale(name, params)
    out = owned(paths.clips.parent, name)
    summary = preprocessing.build(name, params.corpora[name], paths.raw, out, params.preprocess, params.runtime)
    rejected = ", ".join(f"{reason} {count}" for reason, count in summary["rejected"].items()) or "none"
    log.info("%s: %d found = %d kept + rejected (%s)", name, summary["files_found"], summary["kept"], rejected)
    for emotion, share in summary["vad"]["by_emotion"].items():
        log.info(
            "  %s: VAD removed %.1f %% of %d clips, %d without speech", emotion, 100 * share["removed"], share["clips"], share["no_speech"]
        )


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
