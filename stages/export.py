"""Export: the trained networks as a bundle that runs without torch.

Reads models/NAME and, where it exists, metrics/corpora/NAME.json; writes exports/NAME: model.onnx,
bundle.json, README.md.
"""

from __future__ import annotations

import argparse

from ser.evaluation import result
from ser.params import Params
from ser.runtime.machine import passive_waiting
from stages import command
from stages.paths import Paths, needed


def main(params: Params, options: argparse.Namespace) -> None:
    """Write the bundle and say how to use it."""
    passive_waiting()
    from ser.serving.export import export

    paths = Paths(options.dataset)
    needed(paths.models / "model.json", f"train@{paths.corpus}")
    evaluated = result.read(paths.result) if paths.result.exists() else None
    facts = export(paths.models, paths.export, params.corpora[paths.corpus].source, evaluated)
    if facts.networks:
        print(f"{paths.export}: {len(facts.networks)} network(s); try `ser predict RECORDING --bundle {paths.export}`")
    else:
        print(f"{paths.export}: the model card only, for a baseline (model.kind svm) is not exported")


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
