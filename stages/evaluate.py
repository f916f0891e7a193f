"""Evaluate: trained networks → predictions of clips they did not train on → scores.

Reads models/NAME, data/features/NAME, data/clips/NAME and data/folds/NAME. Writes data/predictions/NAME.csv,
data/examples/NAME.npz, metrics/corpora/NAME.json and metrics/plots/NAME/*.csv. Fails, and writes nothing,
when a gate is broken.
"""

from __future__ import annotations

import argparse
import io
import json
import logging

import pandas as pd

from ser.evaluation import examples, gates, predictions, robustness, scoring, tables
from ser.evaluation.result import Result, parameter_lines
from ser.params import Params
from ser.params.corpora import SYNTHETIC_NOTICE, Synthetic
from ser.runtime.machine import passive_waiting
from ser.signal import clips
from ser.views import features
from stages import command
from stages.paths import Paths, needed, write

log = logging.getLogger(__name__)


def main(params: Params, options: argparse.Namespace) -> None:
    """Evaluate the corpus ``options.dataset``."""
    name, settings, paths = options.dataset, params.evaluate, Paths(options.dataset)
    for path in (paths.models / "model.json", paths.clips / "clips.csv", paths.clips / "summary.json", paths.assignment, paths.folds):
        needed(path, f"train@{name}")
    table = clips.read_table(paths.clips)
    assignment = pd.read_csv(paths.assignment, dtype={"clip": "string"})
    folds, summary = (json.loads(path.read_text(encoding="utf-8")) for path in (paths.folds, paths.clips / "summary.json"))

    passive_waiting()
    from ser.evaluation import attention
    from ser.training import inference
    from ser.training.device import set_up

    device = set_up(params.runtime)
    trained = inference.describe(paths.models)

    def predict(views: features.Views, chosen: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
        return inference.predict(paths.models, views, chosen, scored, device)

    text = predictions.to_text(inference.predict(paths.models, paths.features, table, assignment, device))
    predicted = predictions.read(io.StringIO(text), f"predictions of {name}")
    evaluation = scoring.evaluate(predicted, table, folds, settings, summary["sample_rate"])
    chosen = examples.choose(evaluation.test, settings.examples, trained.train.max_seconds * summary["sample_rate"])
    facts = {
        "robustness": robustness.measure(
            paths.clips, assignment, settings, trained.features, trained.preprocess.sample_rate, params.runtime, predict
        ),
        **{key: summary[key] for key in ("edition", "label_edition", "files_found", "kept", "rejected", "vad")},
        "normalise": trained.features.normalise,
        "fast": trained.train.fast,
        "examples": len(chosen),
        "parameters": parameter_lines({key: getattr(trained, key) for key in ("preprocess", "features", "model", "train")}),
    }
    if isinstance(params.corpora[name].source, Synthetic):
        facts["notice"] = SYNTHETIC_NOTICE
    result = Result.of(evaluation.measured, facts)
    gates.check_gates(result, settings.gates, name)

    write(paths.predictions, text)
    curves = tables.curves(pd.read_csv(paths.models / "history.csv"))
    for plot, content in {**evaluation.plots, "loss": curves, "robustness": tables.robustness(result.robustness)}.items():
        write(paths.plots / f"{plot}.csv", content.to_csv(None, index=False, lineterminator="\n"))
    packed, views = clips.read(paths.clips, summary["sample_rate"]), features.read(paths.features, trained.features)
    attend = attention.attender(paths.models, paths.features, table, device)
    examples.write(paths.examples, examples.collect(evaluation.test, chosen, packed, views, attend))
    # Written last: people and DVC take its presence for a finished evaluation.
    write(paths.result, result.text())
    log.info("%s: %s", name, result.line())


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
