"""Clips → hidden states of a frozen pretrained encoder, packed: data/encoded/<corpus>/.

With features.encoder null nothing is done.

Weights are looked for in this order: features.encoder.path, the mirror (SER_MIRROR or runtime.mirror:
<mirror>/encoders/<name>/), earlier downloads (SER_CACHE_DIR or runtime.cache_dir), the Hugging Face hub
(HF_ENDPOINT).
"""

from __future__ import annotations

import argparse
import logging

from ser.encoders import store
from ser.params import Params
from ser.runtime import machine
from ser.runtime.disk import written_whole
from stages import command
from stages.paths import Paths, needed

log = logging.getLogger(__name__)


def main(params: Params, options: argparse.Namespace) -> None:
    """Encode the corpus ``options.dataset``."""
    name, settings, paths = options.dataset, params.features.encoder, Paths(options.dataset)
    if settings is None:
        with written_whole(paths.encoded) as partial:
            store.write_facts(partial, None)
        log.info("%s: features.encoder is null; nothing to encode", name)
        return
    machine.passive_waiting()
    from ser.encoders import encode, weights  # torch, which a run without an encoder does not need

    cache = machine.cache_dir(params.runtime)
    needed(paths.clips / "clips.csv", f"preprocess@{name}")
    obtained = weights.obtain(settings, mirror=machine.mirror(params.runtime), cache=cache)
    log.info("encoder %s (%s), licence: %s", settings.name, obtained.edition, obtained.terms)
    rate, copies = params.preprocess.sample_rate, params.features.copies if settings.copies else None
    encoded = encode.build(paths.clips, paths.encoded, rate, settings, obtained, params.runtime, cache, copies)
    chosen = ", ".join(map(str, settings.layers))
    log.info(
        "%s: %d tokens of %d clips, hidden states %s, %d wide", name, len(encoded.states), len(encoded), chosen, encoded.states.shape[2]
    )


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
