"""Cost and accuracy of the network, compared with the reference network: ``python -m benchmarks.model``.

Cost is counted in multiply-adds for one clip of 5 s, the only length that the reference network accepts.
Accuracy is read from two runs of the pipeline with the same clips, folds, epochs and seeds: the workspace's,
and an experiment with the preset ``paper``. For example:

    dvc exp run -n paper $(python -m stages.preset paper) -S split.protocol=auto -S train.epochs=60 -S
    train.patience=0 python -m benchmarks.model --corpus demo --reference paper

Without such an experiment only the cost is printed, and the recorded scores stay as they are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import dvc.api
import torch
from dvc.exceptions import DvcException
from dvc.scm import SCMError
from ruamel.yaml import YAML

from benchmarks.record import record, show
from benchmarks.reference_network import CLASSES, FRAMES, ROWS, ReferenceNetwork
from ser import SerError
from ser.diagram.built import build
from ser.diagram.summary import madds, summary
from ser.evaluation import result
from ser.evaluation.result import Result
from ser.params import Params, parse
from ser.params.model import FUSIONS
from ser.views.spectrum import frame_count
from stages import preset

WORKSPACE = "workspace"
SAME = ("split", "train.epochs", "train.seeds", "preprocess.min_seconds", "preprocess.deduplicate")
"""Parameters that two runs must share to be compared. They must also share clips, classes and protocol."""


def main() -> None:
    """Command line: see ``python -m benchmarks.model --help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default=None, help="corpus whose scores are read (default: the first of `datasets`)")
    parser.add_argument("--ours", default=WORKSPACE, help="git revision or experiment of our network (default: the workspace)")
    parser.add_argument("--reference", default=None, help="git revision or experiment with the preset `paper`")
    options = parser.parse_args()
    try:
        values = YAML(typ="safe", pure=True).load(Path("params.yaml"))
        params = parse(values)
        rows, figures = cost(values)
        if options.reference is None:
            show(figures, rows)
            print("\nno --reference given: cost only, not written (see --help for how the scores are made)", file=sys.stderr)
        else:
            scores = accuracy(options.corpus or params.datasets[0], options.ours, options.reference)
            record("model", figures | scores, rows, params=params)
    except SerError as error:
        sys.exit(f"error: {error}")


def cost(values: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Parameters and multiply-adds of the reference network, of ours with each fusion, and of the presets."""
    reference = ReferenceNetwork()
    reference_madds = madds(reference, torch.zeros(1, 1, ROWS, FRAMES))["Global"]
    rows = [_row("reference network", _parameters(reference), reference_madds, reference_madds)]
    ours = parse(values)
    default = _ours("default", ours, reference_madds)
    rows.append(default)
    for fusion in FUSIONS.names():
        if fusion != ours.model.fusion:
            rows.append(_ours(f"default, {fusion}", parse(preset.merged(values, {"model": {"fusion": fusion}})), reference_madds))
    for name in preset.names():
        if name != "default":
            rows.append(_ours(f"preset {name}", parse(preset.merged(values, preset.checked(name))), reference_madds))
    figures = {
        "madds_ratio_to_reference": round(default["madds"] / reference_madds, 4),
        "madds": default["madds"],
        "reference_madds": reference_madds,
        "parameters": default["parameters"],
        "reference_parameters": _parameters(reference),
    }
    return rows, figures


def accuracy(corpus: str, ours: str, reference: str) -> dict[str, Any]:
    """UA of both runs with intervals, after a check that the runs can be compared.

    Raises:
        SerError: if a run cannot be read, or the runs differ in more than the network and its features.
    """
    a, b = _scores(corpus, ours), _scores(corpus, reference)
    for key in ("protocol", "n", "classes"):
        if getattr(a, key) != getattr(b, key):
            raise SerError(
                f"{corpus}: {ours} has {key} {getattr(a, key)}, {reference} has {getattr(b, key)}; run both on the same clips and folds"
            )
    parameters = [parse(YAML(typ="safe", pure=True).load(_text("params.yaml", run)), f"params.yaml at {run}") for run in (ours, reference)]
    for key in SAME:
        found = [_value(params, key) for params in parameters]
        if found[0] != found[1]:
            raise SerError(f"{key} is {found[0]} in {ours} and {found[1]} in {reference}; run both with the same (-S {key}=…)")
    return {
        "corpus": corpus,
        "protocol": a.protocol,
        "folds": len(a.folds.each),
        "epochs": parameters[0].train.epochs,
        "seeds": len(parameters[0].train.seeds),
        "ua": a.scores["ua"],
        "ua_interval": a.ci.limits["ua"],
        "reference_ua": b.scores["ua"],
        "reference_ua_interval": b.ci.limits["ua"],
    }


def _ours(name: str, params: Params, reference_madds: int) -> dict[str, Any]:
    frames = frame_count(5 * params.preprocess.sample_rate, params.features.frames)
    total = summary(build(params, CLASSES), frames)[-1]
    return _row(name, total.parameters, total.madds, reference_madds)


def _row(name: str, parameters: int, count: int, reference_madds: int) -> dict[str, Any]:
    return {"network": name, "parameters": parameters, "madds": count, "of_reference": round(count / reference_madds, 3)}


def _parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _scores(corpus: str, run: str) -> Result:
    path = f"metrics/corpora/{corpus}.json"
    return result.parse(_text(path, run), f"{path} of {run}", corpus)


def _value(params: Params, key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _text(path: str, run: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8") if run == WORKSPACE else dvc.api.read(path, repo=".", rev=run)
    except (OSError, DvcException, SCMError) as error:
        raise SerError(f"{path} of {run} cannot be read: {error}\nIs it a git revision or an experiment (dvc exp show) that ran?") from None


if __name__ == "__main__":
    main()
