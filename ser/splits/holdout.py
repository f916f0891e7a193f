"""Which of a fold's training clips are held out for validation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ser.params.split import Split
from ser.splits.leaks import SplitError

_DRAWS = 200
"""Number of sets of validation speakers that are drawn, from which the best is taken."""


def hold_out(table: pd.DataFrame, part: np.ndarray, corpus: str, split: Split, fold: int, earlier: list[np.ndarray]) -> np.ndarray:
    """Choose validation clips for a published fold that has none: by speaker if the fold is
    speaker-independent, else by clip within each emotion.
    """
    test, train = table["speaker"][part == "test"], table["speaker"][part == "train"]
    if not set(test) & set(train) and "" not in set(train) | set(test) and train.nunique() > 1:
        return hold_out_speakers(table, part, corpus, split, fold, earlier)
    held, rng = part.copy(), np.random.default_rng([split.seed, fold])
    for emotion in sorted(table["emotion"].unique()):
        rows = rng.permutation(np.flatnonzero((table["emotion"] == emotion) & (part == "train")))
        held[rows[: min(max(1, round(split.valid_share * len(rows))), max(len(rows) - 1, 0))]] = "valid"
    return held


def hold_out_speakers(table: pd.DataFrame, part: np.ndarray, corpus: str, split: Split, fold: int, earlier: list[np.ndarray]) -> np.ndarray:
    """Make ``valid_share`` of a fold's training speakers, at least one, its validation speakers.

    The best of ``_DRAWS`` gender-balanced draws is used. It is best by these criteria, in this order: every
    emotion stays in training; few validation speakers of earlier folds are used again; validation has many
    emotions; about the same share of each emotion is held out.
    """
    pool = table[part == "train"]
    speakers = sorted(pool["speaker"].unique())
    if len(speakers) < 2:
        raise SplitError(
            f"{corpus}: fold {fold} leaves {len(speakers)} speaker for training and validation, and each needs its own; "
            f"use at least 3 speakers, and with few speakers set corpora.{corpus}.split.folds to their number "
            f"(found {table['speaker'].nunique()})"
        )
    wanted = max(1, round(split.valid_share * len(speakers)))
    counts = pd.crosstab(pool["speaker"], pool["emotion"]).loc[speakers].to_numpy()  # (speakers, emotions)
    genders = _genders(pool).loc[speakers].to_numpy(dtype=object)
    used = {speaker for other in earlier for speaker in table["speaker"][other == "valid"]}
    reused = np.array([speaker in used for speaker in speakers])
    rng = np.random.default_rng([split.seed, fold])
    best: tuple[tuple[float, ...], np.ndarray] | None = None
    for _ in range(_DRAWS):
        chosen = _draw(genders, wanted, rng)
        held, total = counts[chosen].sum(axis=0), counts.sum(axis=0)
        cost = (
            float((held == total).sum()),
            float(reused[chosen].sum()),
            float((held == 0).sum()),
            round(float(np.abs(held / total - wanted / len(speakers)).mean()), 9),
        )
        if best is None or cost < best[0]:
            best = cost, chosen
    assert best is not None
    held_out = table["speaker"].isin([speakers[i] for i in best[1]]).to_numpy()
    return np.where(held_out & (part == "train"), "valid", part).astype(object)


def _draw(genders: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of ``wanted`` random speakers, sorted, genders in turn as long as each has speakers left."""
    order = rng.permutation(len(genders))
    names = rng.permutation(np.unique(genders))
    turns = [[i for i in order if genders[i] == gender] for gender in names]
    mixed = [queue[turn] for turn in range(len(genders)) for queue in turns if turn < len(queue)]
    return np.sort(np.array(mixed[:wanted]))


def _genders(pool: pd.DataFrame) -> pd.Series:
    """Gender of each speaker: the one most of the clips name, else empty."""
    return pool.groupby("speaker")["gender"].agg(lambda found: found[found.ne("")].mode().iat[0] if found.ne("").any() else "")
