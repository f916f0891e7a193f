"""From saved predictions to what is reported of them. No network and no audio is needed.

All scores are **out of fold**: each clip is judged by networks that did not train on it, and the test clips
of all folds are
pooled. With several seeds the headline scores are means over seeds. The seed ensemble, which averages
probabilities, is reported beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ser.evaluation import adaptation, calibration, intervals, metrics, tables
from ser.evaluation.predictions import OutOfFold, classes_of, ensemble, out_of_fold, probabilities
from ser.evaluation.result import Measured
from ser.evaluation.sections import (
    Baselines,
    Calibration,
    Confusion,
    Ensemble,
    Fold,
    Folds,
    Intervals,
    LimitsByMetric,
    Mistake,
    PerClass,
    ProbabilityScores,
    Seed,
    Seeds,
    SpeakerAdapted,
    Temperature,
)
from ser.evaluation.slices import slices
from ser.params.evaluate import Evaluate

MISTAKES = 20
"""Errors that are listed, most confident first."""


@dataclass(frozen=True)
class Evaluation:
    """What can be said of saved predictions.

    Attributes:
        measured: the scores, for ``metrics/corpora/<corpus>.json``.
        plots: tables of ``metrics/plots/<corpus>/<name>.csv``.
        test: the test clips, joined with what is known about them.
    """

    measured: Measured
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
        ValueError: if ``folds`` lacks a key; it is named.
    """
    for key in ("protocol", "speaker_independent", "leaks"):
        if key not in folds:
            raise ValueError(f"folds has no {key!r}; has {', '.join(folds)}")
    test = out_of_fold(predictions, table)
    by_seed = test.counts().sum(axis=1)
    by_fold = _by_fold(test)
    weights = intervals.resamples(len(test.speakers), settings.bootstrap, settings.seed)
    scaled, temperatures = _temperature_scaled(predictions, test, table)
    before, after = (calibration.reliability(values, test.actual, settings.bins) for values in (test.probabilities, scaled))
    measured = Measured(
        scores=metrics.of_seeds(by_seed),
        n=test.n,
        protocol=folds["protocol"],
        speaker_independent=folds["speaker_independent"],
        leaks=folds["leaks"],
        ci=Intervals(
            limits=_limits(test, weights, settings),
            confidence=settings.confidence,
            speakers=len(test.speakers),
            resamples=settings.bootstrap,
        ),
        weighted_f1=float(metrics.weighted_f1(by_seed).mean()),
        baselines=Baselines.model_validate(metrics.baselines(by_seed.sum(0))),
        classes=test.classes,
        per_class=_per_class(by_seed, test.classes),
        confusion=Confusion(
            classes=test.classes,
            counts=by_seed.sum(0).tolist(),
            normalised=tables.normalised(by_seed.sum(0)).tolist(),
        ),
        folds=_folds(by_fold),
        seeds=_seeds(test, table, by_seed, weights, settings),
        knowing_speakers=_speaker_adapted(test, table, weights, settings) if folds["speaker_independent"] else None,
        calibration=Calibration(
            method=settings.calibration,
            before=_probability_scores(test.probabilities, test.actual, before),
            after=_probability_scores(scaled, test.actual, after),
            temperatures=temperatures,
        ),
        slices=slices(test, sample_rate, weights, settings.confidence, settings.seed),
        mistakes=_mistakes(test),
    )
    plots = {
        "confusion": tables.confusion(by_seed.sum(0), test.classes),
        "reliability": tables.reliability(before, after),
        "folds": tables.folds(by_fold),
    }
    return Evaluation(measured, plots, test)


def _limits(test: OutOfFold, weights: np.ndarray, settings: Evaluate) -> dict[str, intervals.Interval | None]:
    """The interval of each metric."""
    counts = test.counts()
    draws = {metric.name: intervals.draws(counts, weights, metric.score) for metric in metrics.METRICS}
    return {name: intervals.interval(values, settings.confidence, counts.shape[1]) for name, values in draws.items()}


def _per_class(by_seed: np.ndarray, classes: list[str]) -> dict[str, PerClass]:
    """Scores over all seeds together; the support is that of one seed."""
    scores = metrics.per_class(by_seed.sum(0), classes)
    return {
        name: PerClass(recall=one["recall"], precision=one["precision"], f1=one["f1"], support=int(one["support"]) // len(by_seed))
        for name, one in scores.items()
    }


def _by_fold(test: OutOfFold) -> dict[int, np.ndarray]:
    """Confusion matrices of each fold's test clips by seed, shape (seeds, K, K)."""
    numbers = sorted(int(number) for number in test.rows["fold"].unique())
    return {number: test.counts(test.rows["fold"].to_numpy() == number).sum(axis=1) for number in numbers}


def _folds(by_fold: dict[int, np.ndarray]) -> Folds:
    scores = {fold: metrics.of_seeds(counts) for fold, counts in by_fold.items()}
    each = [
        Fold(fold=fold, n=int(counts[0].sum()), scores=scores[fold], classes=int((counts[0].sum(1) > 0).sum()))
        for fold, counts in by_fold.items()
    ]
    mean, sd = _mean_and_sd(list(scores.values()))
    return Folds(mean=mean, sd=sd, each=each)


def _seeds(test: OutOfFold, table: pd.DataFrame, by_seed: np.ndarray, weights: np.ndarray, settings: Evaluate) -> Seeds:
    scores = [metrics.of_seeds(counts[None]) for counts in by_seed]
    each = [Seed(seed=seed, scores=one) for seed, one in zip(test.seeds, scores, strict=True)]
    mean, sd = _mean_and_sd(scores)
    return Seeds(count=len(each), mean=mean, sd=sd, each=each, ensemble=_ensemble(test, table, weights, settings))


def _ensemble(test: OutOfFold, table: pd.DataFrame, weights: np.ndarray, settings: Evaluate) -> Ensemble | None:
    """Scores of the seeds' averaged probabilities; None for one seed."""
    if len(test.seeds) == 1:
        return None
    together = out_of_fold(ensemble(test), table)
    scores = metrics.of_seeds(together.counts().sum(axis=1))
    return Ensemble(scores=scores, ci=LimitsByMetric(limits=_limits(together, weights, settings)))


def _speaker_adapted(test: OutOfFold, table: pd.DataFrame, weights: np.ndarray, settings: Evaluate) -> SpeakerAdapted | None:
    """Scores of the same networks when the test speaker's other clips are at hand, unlabelled; None if
    speakers have too few clips.
    """
    rows = adaptation.speaker_adapted(test)
    if rows is None:
        return None
    adapted = out_of_fold(rows, table)
    return SpeakerAdapted(
        protocol="speaker-centred",
        scores=metrics.of_seeds(adapted.counts().sum(axis=1)),
        ci=LimitsByMetric(limits=_limits(adapted, weights, settings)),
        ensemble=_ensemble(adapted, table, weights, settings),
        clips_per_speaker=float(np.median(np.bincount(test.speaker[: test.n]))),
    )


def _mean_and_sd(each: list[dict[str, float]]) -> tuple[dict[str, float], dict[str, float | None]]:
    """Mean and sample standard deviation of each metric; None for the deviation of a single value."""
    columns = {metric.name: [scores[metric.name] for scores in each] for metric in metrics.METRICS}
    mean = {name: float(np.mean(values)) for name, values in columns.items()}
    sd = {name: float(np.std(values, ddof=1)) if len(values) > 1 else None for name, values in columns.items()}
    return mean, sd


def _temperature_scaled(predictions: pd.DataFrame, test: OutOfFold, table: pd.DataFrame) -> tuple[np.ndarray, list[Temperature]]:
    """Test probabilities after temperature scaling, each network (fold, seed) by a temperature of its own.

    It is fitted on the validation clips of all folds of the seed, but for those of the fold's test speakers: two
    validation speakers alone are too few. A network without any keeps its probabilities; its temperature is None.
    """
    scaled = test.probabilities.copy()
    temperatures: list[Temperature] = []
    number = {name: index for index, name in enumerate(classes_of(predictions))}
    valid = predictions[predictions["part"] == "valid"]
    speaker = valid["clip"].map(dict(zip(table["clip"], table["speaker"], strict=True)))
    pairs = test.rows[["fold", "seed"]].drop_duplicates().sort_values(["fold", "seed"])
    for fold, seed in pairs.itertuples(index=False):
        rows = ((test.rows["fold"] == fold) & (test.rows["seed"] == seed)).to_numpy()
        own = valid["fold"] == fold  # where speakers are shared (random protocol), these are allowed as they always were
        held_out = valid[(valid["seed"] == seed) & (own | ~speaker.isin(set(test.rows["speaker"][rows])))]
        temperature = None
        if len(held_out):
            actual = held_out["emotion"].map(number).to_numpy(dtype=np.int64)
            temperature = calibration.fit_temperature(probabilities(held_out), actual)
            scaled[rows] = calibration.softmax_at(test.probabilities[rows], temperature)
        temperatures.append(Temperature(fold=int(fold), seed=int(seed), temperature=temperature, valid_clips=len(held_out)))
    return scaled, temperatures


def _probability_scores(values: np.ndarray, actual: np.ndarray, binned: calibration.Reliability) -> ProbabilityScores:
    return ProbabilityScores(log_loss=calibration.log_loss(values, actual), brier=calibration.brier(values, actual), ece=binned.ece)


def _mistakes(test: OutOfFold) -> list[Mistake]:
    """The largest p(answer) − p(label), averaged over seeds, first: wrong labels rise to the top."""
    values, actual = test.seed_mean(), test.actual[: test.n]
    predicted, every = values.argmax(1), np.arange(test.n)
    margin = values[every, predicted] - values[every, actual]
    wrong = np.flatnonzero(predicted != actual)
    worst = wrong[np.argsort(-margin[wrong], kind="stable")][:MISTAKES]
    return [
        Mistake(
            clip=str(test.rows["clip"].iat[row]),
            speaker=str(test.rows["speaker"].iat[row]),
            actual=test.classes[actual[row]],
            predicted=test.classes[predicted[row]],
            confidence=float(values[row, predicted[row]]),
            p_actual=float(values[row, actual[row]]),
        )
        for row in worst
    ]
