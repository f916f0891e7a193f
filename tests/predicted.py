"""Clips and predictions made on the spot: speakers who are easier or harder to read, so that clips of one speaker are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ser.params.evaluate import Evaluate, Robustness
from ser.signal.clips import COLUMNS

CLASSES = ("neutral", "happy", "sad", "angry")
RATE = 16000
FOLDS = {"protocol": "speaker", "speaker_independent": True, "leaks": {"speaker": 0.0, "twin": 0.0, "content": 0.0}}


def settings(**changes: Any) -> Evaluate:
    """``evaluate`` with few resamples."""
    study = Robustness(snr_db=[10.0, 0.0], gain_db=[-12.0, 12.0], telephone=True, mp3=True, max_clips=8)
    values: dict[str, Any] = {"bootstrap": 300, "confidence": 0.95, "seed": 0, "calibration": "temperature", "bins": 10, "examples": 4}
    return Evaluate(**{**values, "robustness": study, "gates": [], **changes})


def clips(speakers: int = 8, takes: int = 16, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> pd.DataFrame:
    """``clips.csv``: odd speakers are male, neutral has no intensity, speech of all lengths."""
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    start = 0
    for speaker in range(1, speakers + 1):
        for take in range(takes):
            emotion = classes[take % len(classes)]
            samples = int(random.uniform(0.5, 5) * RATE)
            rows.append(
                {
                    "clip": f"{speaker:02d}/{take:03d}.wav",
                    "corpus": "made",
                    "emotion": emotion,
                    "speaker": f"{speaker:02d}",
                    "gender": "male" if speaker % 2 else "female",
                    "language": "",
                    "channel": "speech",
                    "intensity": "" if emotion == "neutral" else ("normal", "strong")[take // len(classes) % 2],
                    "statement": str(take % 2),
                    "repetition": str(take),
                    "offset": start,
                    "samples": samples,
                    "source_seconds": samples / RATE + 0.5,
                    "missing": 0.0,
                    "removed": 0.1,
                    "no_speech": False,
                    "snr_db": random.uniform(5, 40),
                    "content": f"{speaker}-{take}",
                }
            )
            start += samples
    return pd.DataFrame(rows)[list(COLUMNS)].astype(COLUMNS)


def predictions(
    table: pd.DataFrame,
    seeds: tuple[int, ...] = (0,),
    folds: int = 4,
    skill: float = 1.5,
    sharp: float = 1.5,
    seed: int = 0,
    classes: tuple[str, ...] = CLASSES,
) -> pd.DataFrame:
    """Test and validation rows by speaker-disjoint folds; ``sharp`` > 1 makes the probabilities bolder than they deserve."""
    random = np.random.default_rng(seed)
    number = {name: index for index, name in enumerate(classes)}
    actual = table["emotion"].map(number).to_numpy(dtype=int)
    names = sorted(set(table["speaker"]))
    speaker = table["speaker"].map({name: index for index, name in enumerate(names)}).to_numpy(dtype=int)
    ability = random.normal(skill, 0.6, len(names))
    parts = []
    for one in seeds:
        for fold in range(1, folds + 1):
            for part, chosen in (("test", speaker % folds == fold - 1), ("valid", speaker % folds == fold % folds)):
                rows = np.flatnonzero(chosen)
                logits = random.normal(0, 1, (len(rows), len(classes)))
                logits[np.arange(len(rows)), actual[rows]] += ability[speaker[rows]]
                powers = np.exp(sharp * logits)
                frame = pd.DataFrame({"clip": table["clip"].to_numpy()[rows], "fold": fold, "seed": one, "part": part})
                frame["emotion"] = table["emotion"].to_numpy()[rows]
                shares = pd.DataFrame(powers / powers.sum(1, keepdims=True), columns=[f"p_{name}" for name in classes])
                parts.append(pd.concat([frame, shares], axis=1))
    return pd.concat(parts, ignore_index=True)
