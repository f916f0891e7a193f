"""The tables behind the plots, ``metrics/plots/<corpus>/<name>.csv``, which DVC draws and compares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ser.evaluation import metrics
from ser.evaluation.calibration import Reliability
from ser.evaluation.numbers import DIGITS
from ser.evaluation.sections import Robustness
from ser.runtime.reading import DamagedError, read_csv, written_by

STAGES = ("before", "after")
"""Of the reliability table: temperature scaling."""
MEANS = ("train_loss", "valid_loss", "valid_ua", "lr")
"""Columns of the curves that are means over folds and seeds."""
_NO_MARKUP = "\uff1c"
"""``＜``, which stands for ``<``. No label can hold both: labels that differ only in width are refused."""


def to_text(table: pd.DataFrame) -> str:
    """The CSV of one table, with ``＜`` for ``<``.

    ``dvc plots`` puts the cells into a ``<script>`` element as they are, and labels come from folders and tables of any
    origin: ``</script>`` would end the element, and what follows it would be run or shown.
    """
    return table.to_csv(None, index=False, lineterminator="\n").replace("<", _NO_MARKUP)


def read(path: Path, corpus: str) -> pd.DataFrame:
    """A table that a report draws: ``reliability`` or ``loss``, by its file's name.

    Raises:
        DamagedError: if the file is no such table.
    """
    columns = {"reliability": dict(stage="str", confidence="float64", accuracy="float64", clips="int64"), "loss": dict(epoch="int64")}
    with written_by("evaluate", corpus, path):
        types: dict[str, str] = dict.fromkeys(map(str, pd.read_csv(path, nrows=0).columns), "float64") | columns[path.stem]
    table = read_csv(path, "evaluate", corpus, types, empty=[name for name in types if name.startswith("valid_ua_fold")])
    reason = None
    if path.stem == "loss":
        if missing := [name for name in MEANS if name not in table]:
            reason = f"it has no column {missing[0]!r}"
        elif list(table["epoch"]) != sorted(set(table["epoch"])):
            reason = "its epochs do not ascend"
    elif not table["stage"].isin(STAGES).all():
        reason = f"its stages are not {' and '.join(STAGES)}"
    shares = table[[name for name in types if name in ("confidence", "accuracy") or name.startswith("valid_ua")]]
    if reason is None and not (shares.isna() | ((shares >= 0) & (shares <= 1))).to_numpy().all():
        reason = "a share is not between 0 and 1"
    if reason is not None:
        raise DamagedError(path, "evaluate", corpus, reason)
    return table


def normalised(counts: np.ndarray) -> np.ndarray:
    """A confusion matrix with rows divided by their sum, shape (K, K); NaN in the row of a class without
    clips.
    """
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), np.nan)


def confusion(counts: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """One row per cell of a confusion matrix: actual, predicted, clips, and their share of the actual class."""
    shares = normalised(counts)
    rows = [
        {"actual": actual, "predicted": predicted, "clips": int(counts[i, j]), "share": round(float(shares[i, j]), DIGITS)}
        for i, actual in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]
    return pd.DataFrame(rows)


def reliability(before: Reliability, after: Reliability) -> pd.DataFrame:
    """One row per bin that holds clips: stage (``before`` or ``after`` temperature scaling), confidence,
    accuracy, clips.
    """
    parts = []
    for stage, binned in zip(STAGES, (before, after), strict=True):
        table = pd.DataFrame({"confidence": binned.confidence, "accuracy": binned.accuracy, "clips": binned.clips})
        parts.append(table.assign(stage=stage)[table["clips"] > 0])
    return pd.concat(parts, ignore_index=True)[["stage", "confidence", "accuracy", "clips"]].round(DIGITS)


def folds(by_fold: dict[int, np.ndarray]) -> pd.DataFrame:
    """One row per fold: its number, test clips, WA and UA, from confusion matrices of shape (seeds, K, K)."""
    rows = [
        {"fold": fold, "n": int(counts[0].sum()), "wa": float(metrics.wa(counts).mean()), "ua": float(metrics.ua(counts).mean())}
        for fold, counts in by_fold.items()
    ]
    return pd.DataFrame(rows).round(DIGITS)


def robustness(study: Robustness | None) -> pd.DataFrame:
    """One row per condition: name, UA, WA, and loss against clean clips; no row without the study."""
    columns = ["condition", "ua", "wa", "lost"]
    conditions = study.conditions if study else []
    return pd.DataFrame([[getattr(one, name) for name in columns] for one in conditions], columns=columns)


def curves(history: pd.DataFrame) -> pd.DataFrame:
    """Training over epochs, one row per epoch.

    Args:
        history: ``history.csv`` of the models: fold, seed, epoch, train_loss, valid_loss, valid_ua, lr.

    Returns:
        ``epoch``, the means of the other columns over the folds and seeds that reached it, and
        ``valid_ua_fold<k>`` (mean over seeds).

    Raises:
        ValueError: if ``history`` lacks a column; it is named.
    """
    columns = list(MEANS)
    missing = [name for name in ("fold", "epoch", *columns) if name not in history]
    if missing:
        raise ValueError(f"history has no column {missing[0]!r}; has {', '.join(map(str, history.columns))}")
    mean = history.groupby("epoch")[columns].mean()
    each = history.pivot_table(index="epoch", columns="fold", values="valid_ua", aggfunc="mean").add_prefix("valid_ua_fold")
    return mean.join(each).round({name: DIGITS for name in (*columns[:3], *each.columns)}).reset_index()
