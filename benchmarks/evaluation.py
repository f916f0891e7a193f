"""Time of the evaluation of 1,440 saved predictions with all intervals, slices and calibration.

The predictions are those of RAVDESS if the pipeline has saved them, else synthetic ones of the same size.

    python -m benchmarks.evaluation
    python -m benchmarks.evaluation --resamples 10000
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.record import record
from ser.evaluation import comparison, predictions, scoring
from ser.params import load
from ser.signal.clips import COLUMNS, read_table

CLASSES = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]
SHARES = [96, 192, 192, 192, 192, 192, 192, 192]
REPEATS = 3
LIMIT_SECONDS = 20.0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--resamples", type=int, default=None, help="bootstrap resamples; default: evaluate.bootstrap of params.yaml")
    options = arguments.parse_args()
    params = load()
    settings = params.evaluate.model_copy(update={"bootstrap": options.resamples or params.evaluate.bootstrap})
    table, made, folds, origin = _saved() or _made()
    seconds: dict[str, list[float]] = {"read": [], "evaluate": [], "compare": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "predictions.csv")
        path.write_text(predictions.to_text(made), encoding="utf-8")
        for _ in range(REPEATS):
            start = time.perf_counter()
            read = predictions.read(path)
            after_reading = time.perf_counter()
            scoring.evaluate(read, table, folds, settings, params.preprocess.sample_rate)
            after_scoring = time.perf_counter()
            comparison.compare(read, read, table, settings)
            after_comparing = time.perf_counter()
            seconds["read"].append(after_reading - start)
            seconds["evaluate"].append(after_scoring - after_reading)
            seconds["compare"].append(after_comparing - after_scoring)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [{"step": name, "median_seconds": median[name], "worst_seconds": max(values)} for name, values in seconds.items()]
    figures = {
        "seconds": round(median["read"] + median["evaluate"], 3),
        "limit_seconds": LIMIT_SECONDS,
        "clips": int((read["part"] == "test").sum()),
        "resamples": settings.bootstrap,
        "predictions": origin,
    }
    measured = params.model_copy(update={"evaluate": settings})
    record("evaluation", figures, rows, params=measured, sections=("preprocess", "evaluate"))


def _saved() -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any], str] | None:
    """Clips, predictions and folds of RAVDESS as the pipeline saved them, and their name; None if absent."""
    saved, clips, folds = Path("data/predictions/ravdess.csv"), Path("data/clips/ravdess"), Path("data/folds/ravdess.json")
    if not (saved.exists() and clips.exists() and folds.exists()):
        return None
    return read_table(clips), predictions.read(saved), json.loads(folds.read_text(encoding="utf-8")), "saved predictions of ravdess"


def _made() -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any], str]:
    """Synthetic data of RAVDESS' size: 24 speakers, 8 classes, 6 folds of 4 test, 2 validation speakers."""
    random = np.random.default_rng(0)
    emotions = [name for name, share in zip(CLASSES, SHARES, strict=True) for _ in range(share // 24)]
    rows = []
    for actor in range(1, 25):
        for take, emotion in enumerate(emotions):
            values: dict[str, Any] = dict.fromkeys(COLUMNS, "")
            values |= {
                "clip": f"Actor_{actor:02d}/{take:03d}.wav",
                "corpus": "ravdess",
                "emotion": emotion,
                "speaker": f"{actor:02d}",
            }
            values |= {"gender": ("female", "male")[actor % 2], "language": "English", "channel": "speech"}
            values |= {"intensity": "" if emotion == "neutral" else ("normal", "strong")[take % 2]}
            values |= {"offset": 0, "samples": int(random.integers(8000, 80000)), "source_seconds": 4.0, "removed": 0.2, "no_speech": False}
            values["missing"] = 0.0
            rows.append({**values, "snr_db": float(random.uniform(5, 45))})
    table = pd.DataFrame(rows).astype(COLUMNS)
    number = table["emotion"].map({name: index for index, name in enumerate(CLASSES)}).to_numpy(dtype=np.int64)
    speaker = table["speaker"].astype(int).to_numpy() - 1
    parts = []
    for fold in range(6):
        for part, chosen in (("test", speaker // 4 == fold), ("valid", np.isin(speaker, [(4 * fold + 4) % 24, (4 * fold + 5) % 24]))):
            picked = np.flatnonzero(chosen)
            logits = random.normal(0, 1.5, (len(picked), 8))
            logits[np.arange(len(picked)), number[picked]] += 2
            powers = np.exp(logits)
            frame = table.iloc[picked][["clip", "emotion"]].reset_index(drop=True).assign(fold=fold + 1, seed=0, part=part)
            shares = pd.DataFrame(powers / powers.sum(1, keepdims=True), columns=[f"p_{name}" for name in CLASSES])
            parts.append(pd.concat([frame[predictions.KEYS], shares], axis=1))
    folds = {"protocol": "official", "speaker_independent": True, "leaks": {"speaker": 0.0}}
    return table, pd.concat(parts, ignore_index=True), folds, "made up, of ravdess' size"


if __name__ == "__main__":
    main()
