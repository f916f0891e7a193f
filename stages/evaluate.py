"""Evaluate: trained networks → predictions of clips they did not train on → scores.

Reads models/NAME, data/features/NAME, data/clips/NAME and data/folds/NAME. Writes data/predictions/NAME.csv,
data/examples/NAME.npz, metrics/corpora/NAME.json and metrics/plots/NAME/*.csv. Fails, and writes nothing, when a gate is
broken.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
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

if TYPE_CHECKING:
    import torch

    from ser.training.inference import Trained

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
    from ser.training import device, inference

    place = device.set_up(params.runtime)
    trained = inference.describe(paths.models)

    text = predictions.to_text(inference.predict(paths.models, paths.features, table, assignment, place))
    predicted = predictions.read(io.StringIO(text), f"predictions of {name}")
    evaluation = scoring.evaluate(predicted, table, folds, settings, summary["sample_rate"])
    chosen = examples.choose(evaluation.test, settings.examples, trained.train.max_seconds * summary["sample_rate"])
    facts = {
        "robustness": _robustness(name, table, assignment, trained, params, place),
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
    packed, views = clips.read(paths.clips, summary["sample_rate"]), features.read(paths.features)
    attend = attention.attender(paths.models, paths.features, table, place)
    examples.write(paths.examples, examples.collect(evaluation.test, chosen, packed, views, attend))
    # Written last: people and DVC take its presence for a finished evaluation.
    write(paths.result, result.text())
    log.info("%s: %s", name, result.line())


def _robustness(
    name: str, table: pd.DataFrame, assignment: pd.DataFrame, trained: Trained, params: Params, place: torch.device
) -> dict[str, Any] | None:
    """Scores of spoilt test clips; None when the study is switched off."""
    from ser.training import inference

    settings, rate = params.evaluate, trained.preprocess.sample_rate
    if settings.robustness.max_clips == 0:
        return None
    tests = assignment[assignment["part"] == "test"]
    rows = np.flatnonzero(table["clip"].isin(tests["clip"]))
    rows = robustness.chosen_clips(rows, settings.robustness.max_clips, settings.seed)

    scored = set(table["clip"].iloc[rows])
    if trained.features.normalise == "speaker":
        rows = np.arange(len(table))  # a speaker's scale is that of all the speaker's clips, as in the score

    def predict(views: features.Views, chosen: pd.DataFrame) -> pd.DataFrame:
        with tempfile.TemporaryDirectory() as folder:
            for part, values in vars(views).items():
                if values is not None:
                    np.save(Path(folder) / f"{part}.npy", values)
            return inference.predict(Path("models") / name, folder, chosen, tests[tests["clip"].isin(scored)], place)

    found = robustness.study(Path("data/clips") / name, rows, settings, trained.features, rate, params.runtime, predict)
    return robustness.scores(found, table, settings)


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
