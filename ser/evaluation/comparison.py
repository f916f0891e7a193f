"""Two runs on the same clips: is one better, or is it chance? Paired clip by clip, with speakers as the units that vary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ser.evaluation import intervals, metrics
from ser.evaluation.predictions import OutOfFold, PredictionsError, classes_of, out_of_fold
from ser.params.evaluate import Evaluate

SWAPS = 10_000
"""Random swaps of the permutation test: p is known to within 0.005 at 0.05."""

SCORES = {"ua": metrics.ua, "wa": metrics.wa, "macro_f1": metrics.macro_f1}


def compare(a: pd.DataFrame, b: pd.DataFrame, table: pd.DataFrame, settings: Evaluate) -> dict[str, Any]:
    """Hold run B against run A.

    Args:
        a, b: predictions of both runs, as ``ser.evaluation.predictions.read`` gives them.
        table: ``clips.csv`` of one of them, for the speakers.
        settings: ``evaluate`` of params.yaml: resamples, confidence, seed.

    Returns:
        ``clips`` compared and ``speakers``; ``left_out``: clips that only one run tested or that are labelled differently; ``same_folds``;
        for each of ``ua, wa, macro_f1`` a dict ``{a, b, difference, ci, p}``: difference is B − A, ``ci`` its interval by resampling
        speakers, the same ones for both runs, and ``p`` that of the permutation test that swaps the runs speaker by speaker;
        ``mcnemar`` ``{only_a, only_b, p}`` over clips, of each run's seeds averaged; ``distinguishable``: the interval of the UA
        difference leaves zero out and p is below 1 − confidence; ``classes``: a list of ``{emotion, a, b, difference, ci, moved}`` of
        recalls, the intervals widened by Bonferroni so that all hold together.

    Raises:
        PredictionsError: if the runs have different emotions or no test clip in common.
    """
    names = classes_of(a)
    if set(names) != set(classes_of(b)):
        raise PredictionsError(f"the runs know different emotions: {', '.join(names)} and {', '.join(classes_of(b))}; nothing to compare")
    b = b[[column for column in b.columns if not str(column).startswith("p_")] + [f"p_{name}" for name in names]]
    common, left_out = _common(a, b, table)
    if not common:
        raise PredictionsError("the runs have no test clip in common; nothing to compare")
    test_a, test_b = out_of_fold(a, table, common), out_of_fold(b, table, common)
    counts_a, counts_b = test_a.counts(), test_b.counts()
    weights = intervals.resamples(len(test_a.speakers), settings.bootstrap, settings.seed)

    scores: dict[str, dict[str, Any]] = {}
    for name, score in SCORES.items():
        value_a, value_b = (float(score(counts.sum(1)).mean()) for counts in (counts_a, counts_b))
        difference = intervals.draws(counts_b, weights, score) - intervals.draws(counts_a, weights, score)
        scores[name] = {
            "a": value_a,
            "b": value_b,
            "difference": value_b - value_a,
            "ci": intervals.interval(difference, settings.confidence, len(test_a.speakers)),
            "p": intervals.swap_test(counts_a, counts_b, score, SWAPS, settings.seed),
        }
    only_a, only_b, p = intervals.mcnemar(_right(test_a), _right(test_b))
    ua_ci = scores["ua"]["ci"]
    return {
        "clips": len(common),
        "speakers": len(test_a.speakers),
        "left_out": left_out,
        "same_folds": _folds(test_a) == _folds(test_b),
        "seeds": [len(test_a.seeds), len(test_b.seeds)],
        "confidence": settings.confidence,
        **scores,
        "mcnemar": {"only_a": only_a, "only_b": only_b, "p": p},
        "distinguishable": bool(ua_ci and (ua_ci[0] > 0 or ua_ci[1] < 0) and scores["ua"]["p"] < 1 - settings.confidence),
        "classes": _classes(names, counts_a, counts_b, weights, settings.confidence),
    }


def markdown(result: dict[str, Any], dataset: str, name_a: str, name_b: str) -> str:
    """The comparison for people."""
    level = f"{100 * result['confidence']:g} %"
    verdict = "**distinguishable**" if result["distinguishable"] else "**not distinguishable**"
    lines = [
        f"## {dataset}: {name_a} → {name_b}",
        "",
        f"The two runs are {verdict}: UA {_points(result['ua']['difference'])} points, {level} interval {_range(result['ua']['ci'])}, "
        f"p = {result['ua']['p']:.4g} (runs swapped speaker by speaker).",
        "",
        f"{result['clips']} clips of {result['speakers']} speakers, paired; seeds {result['seeds'][0]} and {result['seeds'][1]}.",
        "",
    ]
    if result["left_out"]:
        lines += [f"{result['left_out']} clips are left out: not tested, or labelled differently, in one of the runs.", ""]
    if not result["same_folds"]:
        lines += ["The runs do not have the same folds: the difference holds that of the splits too.", ""]
    lines += [f"| score | {name_a} | {name_b} | difference | {level} interval | p |", "|---|---|---|---|---|---|"]
    for name, label in (("ua", "UA"), ("wa", "WA"), ("macro_f1", "macro-F1")):
        entry = result[name]
        lines.append(
            f"| {label} | {100 * entry['a']:.1f} | {100 * entry['b']:.1f} | {_points(entry['difference'])} | {_range(entry['ci'])} "
            f"| {entry['p']:.4g} |"
        )
    test = result["mcnemar"]
    lines += [
        "",
        f"McNemar, exact: {test['only_a']} clips only {name_a} has right, {test['only_b']} only {name_b}; p = {test['p']:.4g} "
        "(takes clips for independent, which those of one speaker are not).",
        "",
        f"| recall of | {name_a} | {name_b} | difference | interval | |",
        "|---|---|---|---|---|---|",
    ]
    for entry in result["classes"]:
        recalls = f"{_percent(entry['a'])} | {_percent(entry['b'])} | {_points(entry['difference'])}"
        lines.append(f"| {entry['emotion']} | {recalls} | {_range(entry['ci'])} | {'moved' if entry['moved'] else ''} |")
    lines += ["", f"Intervals of recalls hold together at {level} (Bonferroni over {len(result['classes'])} emotions)."]
    return "\n".join(lines) + "\n"


def _common(a: pd.DataFrame, b: pd.DataFrame, table: pd.DataFrame) -> tuple[list[str], int]:
    """Clips that both runs test under the same label and whose speaker is known, and how many are not."""
    labels_a, labels_b = (
        run.loc[run["part"] == "test"].drop_duplicates("clip").set_index("clip")["emotion"].astype(object) for run in (a, b)
    )
    every = labels_a.index.union(labels_b.index)
    common = labels_a.index.intersection(labels_b.index).intersection(pd.Index(table["clip"]))
    same = common[(labels_a[common] == labels_b[common]).to_numpy(dtype=bool)]
    return sorted(str(clip) for clip in same), len(every) - len(same)


def _right(test: OutOfFold) -> np.ndarray:
    """Whether each clip is right by the mean of its probabilities over seeds (and folds), in the order of the clips."""
    columns = [f"p_{name}" for name in test.classes]
    mean = test.rows.groupby("clip", sort=True)[columns].mean().to_numpy()
    actual = pd.Series(test.actual).groupby(test.rows["clip"].to_numpy(), sort=True).first().to_numpy()
    return mean.argmax(axis=1) == actual


def _folds(test: OutOfFold) -> set[tuple[str, int]]:
    return set(zip(test.rows["clip"].astype(str), test.rows["fold"].astype(int), strict=True))


def _classes(names: list[str], a: np.ndarray, b: np.ndarray, weights: np.ndarray, confidence: float) -> list[dict[str, Any]]:
    recalls_a, recalls_b = (np.atleast_2d(metrics.recall(counts.sum(1))).mean(0) for counts in (a, b))
    together = 1 - (1 - confidence) / len(names)
    found = []
    for number, name in enumerate(names):

        def recall(counts: np.ndarray, number: int = number) -> np.ndarray:
            return metrics.recall(counts)[..., number]

        difference = intervals.draws(b, weights, recall) - intervals.draws(a, weights, recall)
        ci = intervals.interval(difference, together, a.shape[1])
        value_a, value_b = float(recalls_a[number]), float(recalls_b[number])
        moved = bool(ci and (ci[0] > 0 or ci[1] < 0))
        found.append({"emotion": name, "a": value_a, "b": value_b, "difference": value_b - value_a, "ci": ci, "moved": moved})
    return found


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


def _points(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:+.1f}"


def _range(limits: intervals.Interval | None) -> str:
    return "none (one speaker)" if limits is None else f"{100 * limits[0]:+.1f} … {100 * limits[1]:+.1f}"
