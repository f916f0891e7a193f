"""From saved predictions to the metrics file and the tables behind the plots. Nothing here needs a network or audio.

All scores are **out of fold**: each clip is judged by networks that never saw it, and the test clips of all folds are pooled. With several
seeds the headline scores are the mean over seeds (each pooled over folds); the seed-ensemble, which averages probabilities, stands beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ser.evaluation import adaptation, calibration, intervals, metrics
from ser.evaluation.predictions import OutOfFold, classes_of, ensemble, out_of_fold, probabilities
from ser.evaluation.slices import slices
from ser.params.evaluate import Evaluate

DIGITS = 4
"""Decimal places of every number in the metrics file."""
MISTAKES = 20
"""Errors that are listed, most confident first."""
SCORES = {"wa": metrics.wa, "ua": metrics.ua, "macro_f1": metrics.macro_f1}


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` writes.

    Attributes:
        metrics: content of ``metrics/corpora/<corpus>.json``, plain values in a fixed order. DVC shows what is not in a list, so long
            tables are lists and ``dvc metrics diff`` stays readable.
        plots: tables of ``metrics/plots/<corpus>/<name>.csv``.
        test: the joined test clips, for whoever wants to go on.
    """

    metrics: dict[str, Any]
    plots: dict[str, pd.DataFrame]
    test: OutOfFold


def evaluate(predictions: pd.DataFrame, table: pd.DataFrame, folds: dict[str, Any], settings: Evaluate, sample_rate: int) -> Evaluation:
    """Score the predictions of a corpus.

    Args:
        predictions: as ``ser.evaluation.predictions.read`` gives it.
        table: ``clips.csv`` with the types of ``ser.signal.clips.COLUMNS``.
        folds: content of ``data/folds/<corpus>.json``: protocol, speaker_independent, leaks.
        settings: ``evaluate`` of params.yaml.
        sample_rate: of the clips, in Hz.

    Raises:
        PredictionsError: if the tables do not fit together.
        ValueError: naming the argument that lacks something.
    """
    for key in ("protocol", "speaker_independent", "leaks"):
        if key not in folds:
            raise ValueError(f"folds has no {key!r}; has {', '.join(folds)}")
    test = out_of_fold(predictions, table)
    counts = test.counts()
    pooled = counts.sum(axis=1)
    weights = intervals.resamples(len(test.speakers), settings.bootstrap, settings.seed)
    fold_scores = _folds(test)
    calibrated, temperatures = _calibrate(predictions, test, settings)
    before, after = (calibration.reliability(values, test.actual, settings.bins) for values in (test.probabilities, calibrated))
    between = {name: _interval(counts, weights, score, settings.confidence) for name, score in SCORES.items()}
    low, high = between["ua"] or (None, None)
    scores = {name: float(score(pooled).mean()) for name, score in SCORES.items()}
    values = {
        "wa": scores["wa"],
        "ua": scores["ua"],
        "ua_low": low,  # numbers of their own: `dvc exp show` leaves lists out
        "ua_high": high,
        "macro_f1": scores["macro_f1"],
        "n": test.n,
        "protocol": folds["protocol"],
        "speaker_independent": folds["speaker_independent"],
        "leaks": folds["leaks"],
        "ci": {
            **between,
            "confidence": settings.confidence,
            "speakers": len(test.speakers),
            "resamples": settings.bootstrap,
        },
        "weighted_f1": float(metrics.weighted_f1(pooled).mean()),
        "baselines": metrics.baselines(pooled.sum(0)),
        "classes": test.classes,
        "per_class": _per_class(pooled, test.classes),
        "confusion": {
            "classes": test.classes,
            "counts": pooled.sum(0).tolist(),
            "normalised": _normalised(pooled.sum(0)),
        },
        "folds": fold_scores,
        "seeds": {**_seeds(test, pooled), "ensemble": _ensemble(test, table, weights, settings)},
        "knowing_speakers": _knowing_speakers(test, table, weights, settings) if folds["speaker_independent"] else None,
        "calibration": {
            "method": settings.calibration,
            "before": _calibration_scores(test.probabilities, test.actual, before),
            "after": _calibration_scores(calibrated, test.actual, after),
            "temperatures": temperatures,
        },
        "slices": slices(test, sample_rate, weights, settings.confidence, settings.seed),
        "mistakes": _mistakes(test),
    }
    plots = {
        "confusion": _confusion_plot(pooled.sum(0), test.classes),
        "reliability": _reliability_plot(before, after),
        "folds": pd.DataFrame(fold_scores["each"])[["fold", "n", "wa", "ua"]].round(DIGITS),
    }
    return Evaluation(rounded(values), plots, test)


def curves(history: pd.DataFrame) -> pd.DataFrame:
    """The course of training, one row per epoch, so that DVC draws lines and no zigzag.

    Args:
        history: ``history.csv`` of the models: fold, seed, epoch, train_loss, valid_loss, valid_ua, lr.

    Returns:
        ``epoch``, the means of the others over the folds and seeds that reached the epoch, and ``valid_ua_fold<k>`` (mean over seeds).
    """
    columns = ["train_loss", "valid_loss", "valid_ua", "lr"]
    missing = [name for name in ("fold", "epoch", *columns) if name not in history]
    if missing:
        raise ValueError(f"history has no column {missing[0]!r}; has {', '.join(map(str, history.columns))}")
    mean = history.groupby("epoch")[columns].mean()
    each = history.pivot_table(index="epoch", columns="fold", values="valid_ua", aggfunc="mean").add_prefix("valid_ua_fold")
    return mean.join(each).round({name: DIGITS for name in (*columns[:3], *each.columns)}).reset_index()


def rounded(value: Any, digits: int | None = DIGITS) -> Any:
    """Plain values for JSON: numbers rounded (unless ``digits`` is None), NaN as None, tuples as lists, −0 as 0; order is kept."""
    if isinstance(value, dict):
        return {str(key): rounded(entry, digits) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry, digits) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if np.isnan(value):
            return None
        return value if digits is None else round(value, digits) + 0.0
    return value


def _interval(counts: np.ndarray, weights: np.ndarray, score: intervals.Score, confidence: float) -> intervals.Interval | None:
    return intervals.interval(intervals.draws(counts, weights, score), confidence, counts.shape[1])


def _per_class(pooled: np.ndarray, classes: list[str]) -> dict[str, dict[str, float]]:
    """Of all seeds together; the support is that of one."""
    scores = metrics.per_class(pooled.sum(0), classes)
    return {name: {**entry, "support": int(entry["support"]) // len(pooled)} for name, entry in scores.items()}


def _normalised(counts: np.ndarray) -> list[list[float]]:
    """Each row as shares of its actual class; NaN in the row of a class without clips."""
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), np.nan).tolist()


def _folds(test: OutOfFold) -> dict[str, Any]:
    """Scores of each fold (mean over seeds), their mean and sample standard deviation (None for a single fold)."""
    each = []
    for fold in sorted(int(number) for number in test.rows["fold"].unique()):
        pooled = test.counts(test.rows["fold"].to_numpy() == fold).sum(axis=1)
        scores = {name: float(score(pooled).mean()) for name, score in SCORES.items()}
        present = int((pooled[0].sum(1) > 0).sum())
        each.append({"fold": fold, "n": int(pooled[0].sum()), **scores, "classes": present})
    return {**_spread(each), "each": each}


def _seeds(test: OutOfFold, pooled: np.ndarray) -> dict[str, Any]:
    """Scores of each seed, their mean and standard deviation."""
    each = [
        {"seed": seed, **{name: float(score(counts)) for name, score in SCORES.items()}}
        for seed, counts in zip(test.seeds, pooled, strict=True)
    ]
    return {"count": len(each), **_spread(each), "each": each}


def _ensemble(test: OutOfFold, table: pd.DataFrame, weights: np.ndarray, settings: Evaluate) -> dict[str, Any] | None:
    """Scores of the seeds' averaged probabilities; None for one seed."""
    return _scores(out_of_fold(ensemble(test), table), weights, settings) if len(test.seeds) > 1 else None


def _scores(test: OutOfFold, weights: np.ndarray, settings: Evaluate) -> dict[str, Any]:
    """Each score, mean over seeds, and its interval."""
    counts = test.counts()
    return {
        **{name: float(score(counts.sum(axis=1)).mean()) for name, score in SCORES.items()},
        "ci": {name: _interval(counts, weights, score, settings.confidence) for name, score in SCORES.items()},
    }


def _knowing_speakers(test: OutOfFold, table: pd.DataFrame, weights: np.ndarray, settings: Evaluate) -> dict[str, Any] | None:
    """A protocol of its own, beside the scores: what the same networks reach with the test speaker's other clips at hand, unlabelled."""
    rows = adaptation.knowing_speakers(test)
    if rows is None:
        return None
    adapted = out_of_fold(rows, table)
    return {
        "protocol": "speaker-centred",
        **_scores(adapted, weights, settings),
        "ensemble": _ensemble(adapted, table, weights, settings),
        "clips_per_speaker": float(np.median(np.bincount(test.speaker[: test.n]))),
    }


def _spread(each: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    columns = {name: [entry[name] for entry in each] for name in SCORES}
    return {
        "mean": {name: float(np.mean(values)) for name, values in columns.items()},
        "sd": {name: float(np.std(values, ddof=1)) if len(values) > 1 else None for name, values in columns.items()},
    }


def _calibrate(predictions: pd.DataFrame, test: OutOfFold, settings: Evaluate) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Test probabilities after temperature scaling, each network (fold, seed) by the temperature of its own validation clips.

    A network without validation clips keeps its probabilities; its temperature is None.
    """
    calibrated = test.probabilities.copy()
    temperatures: list[dict[str, Any]] = []
    number = {name: index for index, name in enumerate(classes_of(predictions))}
    valid = predictions[predictions["part"] == "valid"]
    pairs = test.rows[["fold", "seed"]].drop_duplicates().sort_values(["fold", "seed"])
    for fold, seed in pairs.itertuples(index=False):
        rows = ((test.rows["fold"] == fold) & (test.rows["seed"] == seed)).to_numpy()
        held_out = valid[(valid["fold"] == fold) & (valid["seed"] == seed)]
        temperature = None
        if settings.calibration == "temperature" and len(held_out):
            actual = held_out["emotion"].map(number).to_numpy(dtype=np.int64)
            temperature = calibration.fit_temperature(probabilities(held_out), actual)
            calibrated[rows] = calibration.softmax_at(test.probabilities[rows], temperature)
        temperatures.append({"fold": int(fold), "seed": int(seed), "temperature": temperature, "valid_clips": len(held_out)})
    return calibrated, temperatures


def _calibration_scores(values: np.ndarray, actual: np.ndarray, binned: calibration.Reliability) -> dict[str, float]:
    return {"log_loss": calibration.log_loss(values, actual), "brier": calibration.brier(values, actual), "ece": binned.ece}


def _mistakes(test: OutOfFold) -> list[dict[str, Any]]:
    """Errors by how much more the network (mean of seeds) believed in its answer than in the label: wrong labels float to the top."""
    values, actual = test.seed_mean(), test.actual[: test.n]
    predicted, every = values.argmax(1), np.arange(test.n)
    margin = values[every, predicted] - values[every, actual]
    wrong = np.flatnonzero(predicted != actual)
    worst = wrong[np.argsort(-margin[wrong], kind="stable")][:MISTAKES]
    return [
        {
            "clip": str(test.rows["clip"].iat[row]),
            "speaker": str(test.rows["speaker"].iat[row]),
            "actual": test.classes[actual[row]],
            "predicted": test.classes[predicted[row]],
            "confidence": float(values[row, predicted[row]]),
            "p_actual": float(values[row, actual[row]]),
        }
        for row in worst
    ]


def _confusion_plot(counts: np.ndarray, classes: list[str]) -> pd.DataFrame:
    shares = _normalised(counts)
    rows = [
        {"actual": actual, "predicted": predicted, "clips": int(counts[i, j]), "share": round(shares[i][j], DIGITS)}
        for i, actual in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]
    return pd.DataFrame(rows)


def _reliability_plot(before: calibration.Reliability, after: calibration.Reliability) -> pd.DataFrame:
    """Bins that hold clips, of both stages one under the other."""
    parts = []
    for stage, binned in (("before", before), ("after", after)):
        table = pd.DataFrame({"confidence": binned.confidence, "accuracy": binned.accuracy, "clips": binned.clips})
        parts.append(table.assign(stage=stage)[table["clips"] > 0])
    return pd.concat(parts, ignore_index=True)[["stage", "confidence", "accuracy", "clips"]].round(DIGITS)
