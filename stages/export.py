"""Export: the trained networks as a bundle that runs without torch.

Reads models/NAME and, where it exists, metrics/corpora/NAME.json; writes exports/NAME: model.onnx, bundle.json, README.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ser.params import Params
from ser.runtime.machine import passive_waiting
from stages.command import parser, run


def main(params: Params, options: argparse.Namespace) -> None:
    """Write the bundle and say how to use it."""
    passive_waiting()
    from ser.serving.export import export

    name = options.dataset
    path = Path("metrics/corpora") / f"{name}.json"
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    folder = Path("exports") / name
    facts = export(Path("models") / name, folder, params.corpora[name].source, metrics)
    if facts.networks:
        print(f"{folder}: {len(facts.networks)} network(s); try `ser predict RECORDING --bundle {folder}`")
    else:
        print(f"{folder}: the model card only, for a baseline (model.kind svm) is not exported")


if __name__ == "__main__":
    run(parser(__doc__), main)
