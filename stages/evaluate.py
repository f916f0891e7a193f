"""Trained networks → predictions of clips they have not heard → scores one can believe.

Reads models/<corpus>, data/features/<corpus>, data/clips/<corpus>, data/folds/<corpus>; writes data/predictions/<corpus>.csv,
data/examples/<corpus>.npz, metrics/corpora/<corpus>.json and metrics/plots/<corpus>/*.csv. Fails when a gate is broken.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel

from ser import SerError
from ser.evaluation import examples, gates, predictions, robustness, scoring
from ser.params import Params
from ser.params.corpora import Synthetic
from ser.runtime.machine import passive_waiting
from ser.signal import clips
from ser.views import features
from stages import command

if TYPE_CHECKING:
    from ser.training.inference import Trained

log = logging.getLogger(__name__)

NOTICE = "synthetic: not a result about human emotion"


def main(params: Params, options: argparse.Namespace) -> None:
    """Evaluate the corpus ``options.dataset``."""
    name, settings = options.dataset, params.evaluate
    models, clips_folder, features_folder = Path("models") / name, Path("data/clips") / name, Path("data/features") / name
    _existing(models / "model.json", name)
    _existing(clips_folder / "clips.csv", name)
    table = clips.read_table(clips_folder)
    assignment = pd.read_csv(_existing(Path("data/folds") / f"{name}.csv", name), dtype={"clip": "string"})
    folds = json.loads(_existing(Path("data/folds") / f"{name}.json", name).read_text(encoding="utf-8"))
    summary = json.loads(_existing(clips_folder / "summary.json", name).read_text(encoding="utf-8"))

    passive_waiting()
    from ser.evaluation import attention
    from ser.training import device, inference

    place = device.set_up(params.runtime)
    trained = inference.describe(models)

    def predict(views: features.Views, chosen: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
        return inference.predict(models, views, chosen, scored, place)

    text = predictions.to_text(inference.predict(models, features_folder, table, assignment, place))
    predicted = predictions.read(io.StringIO(text), f"predictions of {name}")
    found = scoring.evaluate(predicted, table, folds, settings, summary["sample_rate"])
    chosen = examples.choose(found.test, settings.examples, trained.train.max_seconds * summary["sample_rate"])
    values = {
        **found.metrics,
        "robustness": robustness.measure(
            clips_folder, assignment, settings, trained.features, trained.preprocess.sample_rate, params.runtime, predict
        ),
        **{key: summary[key] for key in ("edition", "label_edition", "files_found", "kept", "rejected", "vad")},
        "normalise": trained.features.normalise,
        "fast": trained.train.fast,
        "examples": len(chosen),
        "parameters": _lines(trained),
    }
    if isinstance(params.corpora[name].source, Synthetic):
        values["notice"] = NOTICE
    values = scoring.rounded(values)
    gates.check_gates(values, settings.gates, name)

    _write(Path("data/predictions") / f"{name}.csv", text)
    plots = {**found.plots, "loss": scoring.curves(pd.read_csv(models / "history.csv"))}
    conditions = values["robustness"]["conditions"] if values["robustness"] else []
    plots["robustness"] = pd.DataFrame(conditions, columns=["condition", "ua", "wa", "lost"])
    for plot, content in plots.items():
        _write(Path("metrics/plots") / name / f"{plot}.csv", content.to_csv(None, index=False, lineterminator="\n"))
    packed, views = clips.read(clips_folder, summary["sample_rate"]), features.read(features_folder, trained.features)
    attend = attention.attender(models, features_folder, table, place)
    examples.write(Path("data/examples") / f"{name}.npz", examples.collect(found.test, chosen, packed, views, attend))
    # Last, because it is what people and DVC take for the result.
    _write(Path("metrics/corpora") / f"{name}.json", json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    ci = values["ci"]["ua"]
    log.info(
        "%s: UA %.1f %%%s, WA %.1f %%, macro-F1 %.1f %%, %d clips, protocol %s; chance %.1f %%",
        name,
        100 * values["ua"],
        f" [{100 * ci[0]:.1f}, {100 * ci[1]:.1f}]" if ci else "",
        100 * values["wa"],
        100 * values["macro_f1"],
        values["n"],
        values["protocol"],
        100 * values["baselines"]["chance"]["ua"],
    )


def _lines(trained: Trained) -> list[str]:
    """The parameters that made the networks as ``model.fusion = …``; a list, which DVC does not count among the metrics."""

    def flat(prefix: str, value: Any) -> list[str]:
        if isinstance(value, BaseModel):
            return [line for key in type(value).model_fields for line in flat(f"{prefix}.{key}", getattr(value, key))]
        return [f"{prefix} = {json.dumps(value)}"]

    return [line for section in ("preprocess", "features", "model", "train") for line in flat(section, getattr(trained, section))]


def _existing(path: Path, name: str) -> Path:
    if not path.exists():
        raise SerError(f"{path} not found: run the stages before evaluate first (dvc repro evaluate@{name})")
    return path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
