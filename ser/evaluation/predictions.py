"""The table of predictions that ``evaluate`` writes, and its test clips joined with the clips table.

Columns: ``clip, fold, seed, part, emotion, p_<class>…``, one row per network (fold, seed) and clip of its
valid and test part.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from ser import SerError
from ser.evaluation.metrics import confusion
from ser.runtime.reading import written_by
from ser.runtime.text import run_first

KEYS = ["clip", "fold", "seed", "part", "emotion"]
DIGITS = "%.6g"
"""Probabilities keep six digits in the table.

Scores are computed from the table, so that anyone can compute them again.
"""


class PredictionsError(SerError):
    """A predictions table that cannot be scored."""


def to_text(predictions: pd.DataFrame) -> str:
    """The table as CSV, sorted by seed, fold, part and clip; the same predictions give the same bytes."""
    ordered = predictions.sort_values(["seed", "fold", "part", "clip"], kind="stable")
    return ordered.to_csv(None, index=False, float_format=DIGITS, lineterminator="\n")


def read(source: str | Path | IO[str], where: str | None = None) -> pd.DataFrame:
    """Read and check a predictions table.

    Args:
        source: path or open text.
        where: what to call it in messages; default: the path.

    Raises:
        PredictionsError: if columns are missing, or a row is not a probability distribution over the classes.
        ser.runtime.reading.DamagedError: if it is not a table at all, or is cut short within a line.
    """
    name = where or str(source)
    types = {key: "string" for key in ("clip", "part", "emotion")} | {key: "int64" for key in ("fold", "seed")}
    path = Path(name.split()[0])
    with written_by("evaluate", path.stem, path):
        try:
            text = Path(source).read_bytes().decode() if isinstance(source, str | Path) else source.read()
        except FileNotFoundError:
            raise PredictionsError(run_first(name, f"evaluate@{path.stem}")) from None
        if not text.endswith("\n"):
            raise ValueError("its last line is cut short" if text else "it is empty")
        predictions = pd.read_csv(io.StringIO(text), dtype=types, keep_default_na=False)
        try:
            return check(predictions, name)
        except PredictionsError as error:
            raise PredictionsError(f"{error}; run `dvc repro evaluate@{path.stem}`") from None


def check(predictions: pd.DataFrame, where: str = "predictions") -> pd.DataFrame:
    """Check a table of predictions and return it.

    Raises:
        PredictionsError: if it cannot be scored; the faulty column or clip is named.
    """
    missing = [column for column in KEYS if column not in predictions]
    if missing:
        raise PredictionsError(f"{where} has no column {missing[0]!r}; expected {', '.join(KEYS)} and p_<class> for each class")
    names = classes_of(predictions)
    if not names:
        raise PredictionsError(f"{where} has no p_<class> column")
    unknown = sorted(set(predictions["emotion"]) - set(names))
    if unknown:
        raise PredictionsError(f"{where}: emotion {unknown[0]!r} has no column p_{unknown[0]}")
    if not set(predictions["part"]) <= {"train", "valid", "test"}:
        raise PredictionsError(f"{where}: part must be train, valid or test")
    values = probabilities(predictions)
    bad = ~(np.isfinite(values).all(1) & (values >= 0).all(1) & (np.abs(values.sum(1) - 1) < 1e-3))
    if bad.any():
        raise PredictionsError(f"{where}: the probabilities of clip {predictions['clip'].iloc[int(bad.argmax())]!r} do not sum to 1")
    repeated = predictions.duplicated(["clip", "fold", "seed", "part"])
    if repeated.any():
        raise PredictionsError(f"{where}: clip {predictions['clip'].iloc[int(repeated.argmax())]!r} is predicted twice in a fold and seed")
    return predictions


def classes_of(predictions: pd.DataFrame) -> list[str]:
    """Classes in the order of the network's outputs."""
    return [str(column).removeprefix("p_") for column in predictions.columns if str(column).startswith("p_")]


def probabilities(predictions: pd.DataFrame) -> np.ndarray:
    """The p_<class> columns, float64, shape (rows, K)."""
    return predictions[[f"p_{name}" for name in classes_of(predictions)]].to_numpy(dtype=np.float64)


@dataclass(frozen=True)
class OutOfFold:
    """The test clips of one or more seeds, joined with their rows of ``clips.csv``.

    Attributes:
        rows: test rows of the predictions joined with the clips table, sorted by seed, fold and clip; every
            seed tests the same clips.
        classes: names of the K classes.
        probabilities: shape (rows, K).
        actual, predicted: class numbers, shape (rows,); among equal probabilities the first class is
            predicted.
        seed, speaker: index of the seed and of the speaker of each row. A clip whose speaker is not known
            counts as a speaker.
        seeds: the seeds, sorted.
        speakers: the speakers, sorted; in a joint corpus with the name of their corpus.
    """

    rows: pd.DataFrame
    classes: list[str]
    probabilities: np.ndarray
    actual: np.ndarray
    predicted: np.ndarray
    seed: np.ndarray
    speaker: np.ndarray
    seeds: list[int]
    speakers: list[str]

    @property
    def n(self) -> int:
        """Test clips of each seed."""
        return len(self.rows) // len(self.seeds)

    def counts(self, chosen: np.ndarray | None = None) -> np.ndarray:
        """Confusion matrices per seed and speaker of the chosen rows (bool, shape (rows,)): shape (seeds,
        speakers, K, K).
        """
        chosen = np.ones(len(self.rows), bool) if chosen is None else chosen
        group = (self.seed * len(self.speakers) + self.speaker)[chosen]
        size = len(self.classes)
        counted = confusion(self.actual[chosen], self.predicted[chosen], size, group, len(self.seeds) * len(self.speakers))
        return counted.reshape(len(self.seeds), len(self.speakers), size, size)

    def seed_mean(self) -> np.ndarray:
        """Probabilities of each test clip averaged over seeds, shape (n, K), in the row order of one seed."""
        return self.probabilities.reshape(len(self.seeds), self.n, -1).mean(axis=0)


def ensemble(test: OutOfFold) -> pd.DataFrame:
    """Predictions of the seed ensemble: mean probabilities of each test clip over seeds; its seed is the
    first.

    Returns:
        A table of predictions with n rows, test clips only, for ``out_of_fold``.
    """
    rows = test.rows.loc[test.seed == 0, KEYS].copy()
    rows[[f"p_{name}" for name in test.classes]] = test.seed_mean()
    return rows


def average(runs: Sequence[OutOfFold]) -> pd.DataFrame:
    """Predictions of several runs together: the mean of their probabilities for each test clip, each run
    counting once.

    Args:
        runs: one or more runs that tested the same clips with the same classes. Seeds of a run are averaged
            first.

    Returns:
        A table of predictions like that of ``ensemble``, with the folds of the first run.

    Raises:
        PredictionsError: if the runs tested other clips, or know other classes.
    """
    first, *others = runs
    rows = ensemble(first).set_index("clip", drop=False)
    names = [f"p_{name}" for name in first.classes]
    for number, other in enumerate(others, start=2):
        if set(other.classes) != set(first.classes):
            raise PredictionsError(f"run {number} has the classes {', '.join(other.classes)}, run 1 has {', '.join(first.classes)}")
        more = ensemble(other).set_index("clip")
        if set(more.index) != set(rows.index):
            shared = len(set(more.index) & set(rows.index))
            raise PredictionsError(
                f"run {number} tested {len(more)} clips, run 1 tested {len(rows)}; they share {shared}, an average needs all"
            )
        rows[names] += more.loc[rows.index, names].to_numpy()
    rows[names] /= len(runs)
    return rows.reset_index(drop=True)


def out_of_fold(predictions: pd.DataFrame, table: pd.DataFrame, clips: Iterable[str] | None = None) -> OutOfFold:
    """Join the test rows with the clips table.

    Args:
        predictions: as ``read`` gives it.
        table: ``clips.csv``.
        clips: only these clips; None: all.

    Raises:
        PredictionsError: if there is no test clip, a clip is not in ``table``, or the seeds do not test the
            same clips.
    """
    rows = predictions[predictions["part"] == "test"]
    if clips is not None:
        rows = rows[rows["clip"].isin(list(clips))]
    if rows.empty:
        raise PredictionsError("predictions have no clip with part 'test': nothing to score")
    known = table.drop(columns=["emotion"]).set_index("clip")
    lost = rows.loc[~rows["clip"].isin(known.index), "clip"]
    if len(lost):
        raise PredictionsError(f"clip {lost.iloc[0]!r} of the predictions is not in clips.csv: they belong to different runs")
    rows = rows.sort_values(["seed", "fold", "clip"], kind="stable").join(known, on="clip").reset_index(drop=True)
    seeds = sorted(int(seed) for seed in rows["seed"].unique())
    first = rows.loc[rows["seed"] == seeds[0], ["fold", "clip"]].to_numpy()
    for seed in seeds[1:]:
        if not np.array_equal(first, rows.loc[rows["seed"] == seed, ["fold", "clip"]].to_numpy()):
            raise PredictionsError(f"seed {seed} does not test the clips and folds of seed {seeds[0]}")
    names = classes_of(rows)
    values = probabilities(rows)
    speaker_names = np.where(rows["speaker"] == "", "clip " + rows["clip"], rows["speaker"])
    if rows["corpus"].nunique() > 1:
        speaker_names = rows["corpus"].to_numpy(dtype=object) + "/" + speaker_names.astype(object)
    speakers, speaker = np.unique(speaker_names.astype(str), return_inverse=True)
    return OutOfFold(
        rows=rows,
        classes=names,
        probabilities=values,
        actual=rows["emotion"].map({name: number for number, name in enumerate(names)}).to_numpy(dtype=np.int64),
        predicted=values.argmax(axis=1),
        seed=np.searchsorted(seeds, rows["seed"].to_numpy()),
        speaker=speaker,
        seeds=seeds,
        speakers=[str(name) for name in speakers],
    )
