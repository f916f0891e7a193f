"""A few test clips to look into: what was heard, what was answered, and where in time the network looked."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser import SerError
from ser.evaluation.predictions import OutOfFold
from ser.runtime.disk import file_written_whole, place_named
from ser.runtime.reading import written_by
from ser.runtime.text import run_first
from ser.signal.clips import Clips
from ser.views.features import Views

Attend = Callable[[int, int], dict[str, np.ndarray]]
"""(row of clips.csv, fold) → weights over the frames of the clip, with sum 1, by side of the fusion; may be
empty.
"""


@dataclass(frozen=True)
class Example:
    """One clip.

    Attributes:
        about: ``clip, speaker, fold, actual, predicted, probabilities`` (class → p), plain values.
        sample_rate: of ``audio``, in Hz.
        audio: int16, shape (samples,).
        log_mel: dB, shape (frames, bands).
        attention: weights over frames that sum to 1, by side of the fusion; empty for a fusion without
            attention over time.
    """

    about: dict[str, Any]
    sample_rate: int
    audio: np.ndarray
    log_mel: np.ndarray
    attention: dict[str, np.ndarray]


def choose(test: OutOfFold, count: int, longest: float) -> np.ndarray:
    """Rows of ``test`` (its first seed): half right, half wrong, the surest first, each actual class once
    before any comes again.

    Clips with more than ``longest`` samples are left out: the network sees them in several windows, and no
    picture shows that well.
    """
    first = np.flatnonzero((test.seed == 0) & (test.rows["samples"].to_numpy() <= longest))
    sure = test.probabilities.max(axis=1)
    right = first[test.predicted[first] == test.actual[first]]
    wrong = first[test.predicted[first] != test.actual[first]]
    half = min(count // 2, len(wrong))
    return np.concatenate([_surest(right, sure, test.actual, count - half), _surest(wrong, sure, test.actual, half)])


def _surest(rows: np.ndarray, sure: np.ndarray, actual: np.ndarray, count: int) -> np.ndarray:
    ordered = rows[np.argsort(-sure[rows], kind="stable")]
    turn = np.zeros(len(ordered), dtype=np.int64)
    for number in np.unique(actual[ordered]):
        same = actual[ordered] == number
        turn[same] = np.arange(same.sum())
    return ordered[np.argsort(turn, kind="stable")][:count]


def collect(test: OutOfFold, chosen: np.ndarray, clips: Clips, views: Views, attend: Attend) -> list[Example]:
    """The examples of the chosen rows of ``test``, by the network of the clip's fold and the first seed."""
    position = {clip: row for row, clip in enumerate(clips.table["clip"])}
    examples = []
    for index in chosen:
        row = test.rows.iloc[int(index)]
        at = position[row["clip"]]
        shares = {name: round(float(p), 4) for name, p in zip(test.classes, test.probabilities[index], strict=True)}
        about = {
            "clip": str(row["clip"]),
            "speaker": str(row["speaker"]),
            "fold": int(row["fold"]),
            "actual": test.classes[test.actual[index]],
            "predicted": test.classes[test.predicted[index]],
            "probabilities": shares,
        }
        start, samples = int(row["offset"]), int(row["samples"])
        audio = np.array(clips.audio[start : start + samples])
        log_mel = np.array(views.clip(at)["log_mel"])
        examples.append(Example(about, clips.sample_rate, audio, log_mel, attend(at, int(row["fold"]))))
    return examples


def write(path: str | Path, examples: list[Example]) -> None:
    """One ``.npz``: ``about`` is JSON text, the arrays of example i are ``<i>.audio``, ``<i>.log_mel`` and
    ``<i>.attention.<side>``.

    Not by ``np.savez``: it asks for zip64, which Python writes in other bytes since 3.11.4.
    """
    arrays: dict[str, np.ndarray] = {
        "about": np.array(json.dumps([{**one.about, "sample_rate": one.sample_rate} for one in examples], ensure_ascii=False))
    }
    for number, one in enumerate(examples):
        arrays[f"{number}.audio"] = one.audio.astype(np.int16)
        arrays[f"{number}.log_mel"] = one.log_mel.astype(np.float16)
        for side, weights in one.attention.items():
            arrays[f"{number}.attention.{side}"] = weights.astype(np.float32)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with place_named(path), file_written_whole(path) as part, zipfile.ZipFile(part, "w") as out:
        for name, values in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, values, allow_pickle=False)
            out.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())


def read(path: str | Path) -> list[Example]:
    """What ``write`` wrote.

    Raises:
        SerError: if the file is not there, or is damaged.
    """
    path = Path(path)
    with written_by("evaluate", path.stem, path):
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = dict(stored)
        except FileNotFoundError:
            raise SerError(run_first(path, f"evaluate@{path.stem}")) from None
        facts = json.loads(str(arrays["about"]))
        return [_example(number, about, arrays) for number, about in enumerate(facts)]


def _example(number: int, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> Example:
    prefix = f"{number}.attention."
    attention = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
    rate = int(about.pop("sample_rate"))
    return Example(about, rate, arrays[f"{number}.audio"], arrays[f"{number}.log_mel"].astype(np.float32), attention)
