"""Evaluate: trained networks → predictions of clips they did not train on → scores.

Reads models/NAME, data/features/NAME, data/clips/NAME, data/folds/NAME and, if the model reads hidden states,
data/encoded/NAME. Writes data/predictions/NAME.csv, data/examples/NAME.npz, metrics/corpora/NAME.json and
metrics/plots/NAME/*.csv. Fails, and writes nothing, when a gate is broken.
"""

from __future__ import annotations

import argparse
import io
import logging

import pandas as pd

from ser.evaluation import examples, gates, predictions, robustness, scoring, tables
from ser.evaluation.result import Result, parameter_lines
from ser.params import Params
from ser.params.corpora import SYNTHETIC_NOTICE, Synthetic
from ser.runtime.machine import passive_waiting
from ser.runtime.reading import DamagedError, read_csv, read_json
from ser.signal import clips
from ser.splits.assignment import read, read_facts
from ser.views import features
from stages import command
from stages.encoder import encoder_for
from stages.paths import Paths, needed, write

log = logging.getLogger(__name__)

CURVES = ["train_loss", "valid_loss", "valid_ua", "lr"]
"""Columns of ``history.csv`` that are drawn over the epochs; a training that diverged has NaN in them."""
HISTORY = dict.fromkeys(["fold", "seed", "epoch"], "int64") | dict.fromkeys(CURVES, "float64")
"""All columns of ``history.csv`` and their pandas types."""


def main(params: Params, options: argparse.Namespace) -> None:
    """Evaluate the corpus ``options.dataset``."""
    name, settings, paths = options.dataset, params.evaluate, Paths(options.dataset)
    for path in (paths.models / "model.json", paths.clips / "clips.csv", paths.clips / "summary.json", paths.assignment, paths.folds):
        needed(path, f"train@{name}")
    facts_of_clips = ["edition", "label_edition", "files_found", "kept", "rejected", "vad", "sample_rate"]
    summary = read_json(paths.clips / "summary.json", "preprocess", name, facts_of_clips)
    packed = clips.read(paths.clips, summary["sample_rate"])
    table = packed.table
    if summary["kept"] != len(table):
        raise DamagedError(paths.clips / "clips.csv", "preprocess", name, f"summary.json counts {summary['kept']} clips")
    assignment = read(paths.assignment, table["clip"])
    folds = read_facts(paths.folds, assignment)
    history = read_csv(paths.models / "history.csv", "train", name, HISTORY, empty=CURVES)

    passive_waiting()
    from ser.evaluation import attention, encoder
    from ser.training import inference
    from ser.training.device import set_up

    device = set_up(params.runtime)
    trained = inference.describe(paths.models)
    if set(zip(history["fold"], history["seed"], strict=True)) != {(fold, seed) for fold in trained.folds for seed in trained.seeds}:
        raise DamagedError(paths.models / "history.csv", "train", name, "it has other folds and seeds than model.json")
    used = encoder.used(paths.models, trained)

    def predict(views: features.Views, chosen: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
        return inference.predict(paths.models, views, chosen, scored, device)

    text = predictions.to_text(inference.predict(paths.models, paths.features, table, assignment, device, paths.encoded))
    predicted = predictions.read(io.StringIO(text), f"predictions of {name}")
    evaluation = scoring.evaluate(predicted, table, folds, settings, summary["sample_rate"])
    chosen = examples.choose(evaluation.test, settings.examples, trained.train.max_seconds * summary["sample_rate"])
    facts = {
        "robustness": robustness.measure(
            paths.clips,
            assignment,
            settings,
            trained.features,
            trained.preprocess.sample_rate,
            params.runtime,
            predict,
            encoder_for(trained, params) if settings.robustness.max_clips else None,
        ),
        **{key: summary[key] for key in facts_of_clips[:-1]},
        "normalise": trained.features.normalise,
        "fast": trained.train.fast,
        "examples": len(chosen),
        "parameters": parameter_lines({key: getattr(trained, key) for key in ("preprocess", "features", "model", "train")}),
    }
    if used is not None:
        facts["encoder"] = used
    if isinstance(params.corpora[name].source, Synthetic):
        facts["notice"] = SYNTHETIC_NOTICE
    result = Result.of(evaluation.measured, facts)
    gates.check_gates(result, settings.gates, name)

    write(paths.predictions, text)
    curves = tables.curves(history)
    for plot, content in {**evaluation.plots, "loss": curves, "robustness": tables.robustness(result.robustness)}.items():
        write(paths.plots / f"{plot}.csv", tables.to_text(content))
    views = features.read(paths.features, trained.features)
    attend = attention.attender(paths.models, paths.features, table, device, paths.encoded)
    examples.write(paths.examples, examples.collect(evaluation.test, chosen, packed, views, attend))
    # Written last: people and DVC take its presence for a finished evaluation.
    write(paths.result, result.text())
    log.info("%s: %s", name, result.line())


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
