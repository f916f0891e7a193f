"""Compare two runs clip by clip: is one better, or is the difference chance? Speakers are the units that
vary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pandas as pd

from ser.evaluation import intervals, metrics
from ser.evaluation.numbers import ByMetric, Json
from ser.evaluation.predictions import OutOfFold, PredictionsError, classes_of, out_of_fold
from ser.params.base import Section
from ser.params.evaluate import Evaluate
from ser.runtime.text import markdown_table, percent

PERMUTATIONS = 10_000
"""Random permutations of the permutation test: p is exact to about 0.005 at 0.05."""


class Difference(Section):
    """A metric in runs A and B, the difference B − A, its interval ``ci`` and the ``p`` of the permutation
    test. None: undefined.
    """

    a: float | None
    b: float | None
    difference: float | None
    ci: tuple[float, float] | None
    p: float


class Mcnemar(Section):
    """McNemar's exact test over clips: the number that only one run has right, and p."""

    only_a: int
    only_b: int
    p: float


class RecallDifference(Section):
    """Recall of an emotion in both runs; ``moved`` if the interval of the difference excludes zero.

    None: it has no clips.
    """

    emotion: str
    a: float | None
    b: float | None
    difference: float | None
    ci: tuple[float, float] | None
    moved: bool


class Comparison(ByMetric):
    """Run B compared with run A. As JSON, each metric has a key of its own.

    Intervals resample speakers, with the same draws for both runs. The permutation test swaps the runs
    speaker by speaker.
    """

    by_metric: ClassVar[str] = "differences"
    clips: int
    speakers: int
    left_out: int
    """Clips that only one run tested, or that the runs label differently."""
    same_folds: bool
    seeds: tuple[int, int]
    confidence: float
    differences: dict[str, Difference]
    mcnemar: Mcnemar
    """Of each run's seed ensemble."""
    distinguishable: bool
    """The interval of the headline's difference excludes zero, and its p is below 1 − confidence."""
    classes: list[RecallDifference]
    """Intervals are widened by Bonferroni, so that all of them hold together."""

    @property
    def headline(self) -> Difference:
        """The difference of the headline metric."""
        return self.differences[metrics.HEADLINE]

    def plain(self) -> dict[str, Json]:
        """Plain values, not rounded."""
        return self.model_dump(mode="json")


def compare(a: pd.DataFrame, b: pd.DataFrame, table: pd.DataFrame, settings: Evaluate) -> Comparison:
    """Compare run B with run A.

    Args:
        a, b: predictions of both runs, as ``ser.evaluation.predictions.read`` gives them.
        table: ``clips.csv`` of one of them, for the speakers.
        settings: ``evaluate`` of params.yaml: resamples, confidence, seed.

    Raises:
        PredictionsError: if the runs have different emotions or no test clip in common.
    """
    names = classes_of(a)
    if set(names) != set(classes_of(b)):
        raise PredictionsError(f"the runs have different emotions: {', '.join(names)} and {', '.join(classes_of(b))}; nothing to compare")
    b = b[[column for column in b.columns if not str(column).startswith("p_")] + [f"p_{name}" for name in names]]
    common, left_out = _common(a, b, table)
    if not common:
        raise PredictionsError("the runs have no test clip in common; nothing to compare")
    test_a, test_b = out_of_fold(a, table, common), out_of_fold(b, table, common)
    counts_a, counts_b = test_a.counts(), test_b.counts()
    weights = intervals.resamples(len(test_a.speakers), settings.bootstrap, settings.seed)
    differences = {metric.name: _difference(metric, counts_a, counts_b, weights, settings) for metric in metrics.listed()}
    headline = differences[metrics.HEADLINE]
    only_a, only_b, p = intervals.mcnemar(_right(test_a), _right(test_b))
    return Comparison(
        clips=len(common),
        speakers=len(test_a.speakers),
        left_out=left_out,
        same_folds=_folds(test_a) == _folds(test_b),
        seeds=(len(test_a.seeds), len(test_b.seeds)),
        confidence=settings.confidence,
        differences=differences,
        mcnemar=Mcnemar(only_a=only_a, only_b=only_b, p=p),
        distinguishable=_excludes_zero(headline.ci) and headline.p < 1 - settings.confidence,
        classes=_classes(names, counts_a, counts_b, weights, settings.confidence),
    )


def markdown(comparison: Comparison, dataset: str, name_a: str, name_b: str) -> str:
    """The comparison as Markdown, for people."""
    level, headline = f"{100 * comparison.confidence:g} %", comparison.headline
    shown = {metric.name: metric for metric in metrics.listed()}
    main = shown[metrics.HEADLINE]
    verdict = "**distinguishable**" if comparison.distinguishable else "**not distinguishable**"
    test = comparison.mcnemar
    scores = [
        [
            shown[name].title,
            shown[name].text(one.a),
            shown[name].text(one.b),
            shown[name].text(one.difference, sign=True),
            _range(one.ci, shown[name].text),
            f"{one.p:.4g}",
        ]
        for name, one in comparison.differences.items()
    ]
    recalls = [
        [
            one.emotion,
            percent(one.a),
            percent(one.b),
            percent(one.difference, sign=True),
            _range(one.ci, percent),
            "moved" if one.moved else "",
        ]
        for one in comparison.classes
    ]
    left_out = (
        f"{comparison.left_out} clips are left out: only one of the runs tested them, or the runs label them differently."
        if comparison.left_out
        else ""
    )
    other_folds = "" if comparison.same_folds else "The runs do not have the same folds, so the difference includes that of the splits."
    paragraphs = [
        f"## {dataset}: {name_a} → {name_b}",
        f"The two runs are {verdict}: {main.label} {main.text(headline.difference, sign=True)} points, {level} interval "
        f"{_range(headline.ci, main.text)}, p = {headline.p:.4g} (runs swapped speaker by speaker).",
        f"{comparison.clips} clips of {comparison.speakers} speakers, paired; seeds {comparison.seeds[0]} and {comparison.seeds[1]}.",
        left_out,
        other_folds,
        markdown_table(["score", name_a, name_b, "difference", f"{level} interval", "p"], scores),
        f"McNemar, exact: {test.only_a} clips only {name_a} has right, {test.only_b} only {name_b}; p = {test.p:.4g} "
        "(assumes independent clips, but clips of one speaker are not).",
        markdown_table(["recall of", name_a, name_b, "difference", "interval", ""], recalls),
        f"Intervals of recalls hold together at {level} (Bonferroni over {len(comparison.classes)} emotions).",
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _difference(metric: metrics.Metric, a: np.ndarray, b: np.ndarray, weights: np.ndarray, settings: Evaluate) -> Difference:
    """Counts ``a`` and ``b`` have the shape (seeds, speakers, K, K)."""
    value_a, value_b = (float(metric.score(counts.sum(1)).mean()) for counts in (a, b))
    drawn = intervals.draws(b, weights, metric.score) - intervals.draws(a, weights, metric.score)
    return Difference(
        a=_known(value_a),
        b=_known(value_b),
        difference=_known(value_b - value_a),
        ci=intervals.interval(drawn, settings.confidence, a.shape[1]),
        p=intervals.permutation_test(a, b, metric.score, PERMUTATIONS, settings.seed),
    )


def _common(a: pd.DataFrame, b: pd.DataFrame, table: pd.DataFrame) -> tuple[list[str], int]:
    """Clips that both runs test under the same label and that ``table`` holds, and the number of all others."""
    labels_a, labels_b = (
        run.loc[run["part"] == "test"].drop_duplicates("clip").set_index("clip")["emotion"].astype(object) for run in (a, b)
    )
    every = labels_a.index.union(labels_b.index)
    common = labels_a.index.intersection(labels_b.index).intersection(pd.Index(table["clip"]))
    same = common[(labels_a[common] == labels_b[common]).to_numpy(dtype=bool)]
    return sorted(str(clip) for clip in same), len(every) - len(same)


def _right(test: OutOfFold) -> np.ndarray:
    """Whether each clip is right by its mean probabilities over seeds (and folds), in the order of the clips."""
    columns = [f"p_{name}" for name in test.classes]
    mean = test.rows.groupby("clip", sort=True)[columns].mean().to_numpy()
    actual = pd.Series(test.actual).groupby(test.rows["clip"].to_numpy(), sort=True).first().to_numpy()
    return mean.argmax(axis=1) == actual


def _folds(test: OutOfFold) -> set[tuple[str, int]]:
    return set(zip(test.rows["clip"].astype(str), test.rows["fold"].astype(int), strict=True))


def _classes(names: list[str], a: np.ndarray, b: np.ndarray, weights: np.ndarray, confidence: float) -> list[RecallDifference]:
    recalls_a, recalls_b = (np.atleast_2d(metrics.recall(counts.sum(1))).mean(0) for counts in (a, b))
    together = 1 - (1 - confidence) / len(names)
    differences = []
    for number, name in enumerate(names):

        def recall(counts: np.ndarray, number: int = number) -> np.ndarray:
            return metrics.recall(counts)[..., number]

        drawn = intervals.draws(b, weights, recall) - intervals.draws(a, weights, recall)
        ci = intervals.interval(drawn, together, a.shape[1])
        value_a, value_b = float(recalls_a[number]), float(recalls_b[number])
        one = RecallDifference(
            emotion=name, a=_known(value_a), b=_known(value_b), difference=_known(value_b - value_a), ci=ci, moved=_excludes_zero(ci)
        )
        differences.append(one)
    return differences


def _excludes_zero(limits: intervals.Interval | None) -> bool:
    return limits is not None and (limits[0] > 0 or limits[1] < 0)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _range(limits: intervals.Interval | None, text: Callable[..., str]) -> str:
    return "none (one speaker)" if limits is None else " … ".join(text(limit, sign=True) for limit in limits)
