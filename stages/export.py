"""Export: the trained networks as a bundle that runs without torch.

Reads models/NAME and, if it exists, metrics/corpora/NAME.json. If the model reads a pretrained encoder, reads its
weights as the encode stage does. data/clips/NAME tells what is typical and what packing costs. With export.model: refit,
data/encoded/NAME is read too. Writes exports/NAME: model.onnx, encoder.onnx, bundle.json, README.md.
"""

from __future__ import annotations

import argparse

from ser.evaluation import result
from ser.params import Params
from ser.runtime.machine import passive_waiting
from stages import command
from stages.encoder import encoder_for
from stages.paths import Paths, needed
from stages.recordings import warn_if_stale


def main(params: Params, options: argparse.Namespace) -> None:
    """Write the bundle and say how to use it."""
    passive_waiting()
    from ser.serving.export.write import export
    from ser.training.inference import describe

    warn_if_stale(options.dataset, params)
    paths = Paths(options.dataset)
    needed(paths.models / "model.json", f"train@{paths.corpus}")
    evaluated = result.read(paths.result) if paths.result.exists() else None
    encoder = encoder_for(describe(paths.models), params)
    facts = export(
        paths.models, paths.export, params.corpora[paths.corpus].source, evaluated, params.export, encoder, paths.clips, paths.encoded
    )
    if facts.encoder is not None:
        parity = facts.encoder.parity
        apart = f"; probabilities of {parity.clips} clips within {parity.probabilities:.1g} of training's" if parity else ""
        print(f"encoder {facts.encoder.name} in {facts.encoder.precision}, licence: {facts.encoder.licence}{apart}")
    if facts.networks:
        what = "network(s)" if facts.kind == "network" else "regression(s)"
        how = " fitted on all clips" if facts.made == "refit" else ""
        print(f"{paths.export}: {len(facts.networks)} {what}{how}; try `ser predict RECORDING --bundle {paths.export}`")
    else:
        print(f"{paths.export}: the model card only, for {facts.not_exported}")


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
