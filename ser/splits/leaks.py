"""Measure what test shares with training and validation, and refuse a split that must share nothing but does."""

from __future__ import annotations

import pandas as pd

from ser import SerError


class SplitError(SerError):
    """A split that these clips do not allow; the message says what is needed."""


def leak_report(table: pd.DataFrame, assignment: pd.DataFrame) -> dict[str, float]:
    """Share of test clips, over all folds, with something in common with the training or validation of their
    fold.

    Args:
        table: columns clip, emotion, speaker, intensity, statement, content.
        assignment: columns clip, fold, part.

    Returns:
        ``speaker``: another clip of the same speaker. ``twin``: a clip of the same speaker, emotion,
        statement and intensity, thus another repetition of the same thing. ``content``: the same audio. All
        from 0 to 1; unknown (empty) values share nothing.
    """
    rows = assignment.merge(table, on="clip", how="left", validate="many_to_one")
    test = rows["part"].eq("test")
    report = {}
    for name, columns, known in (
        ("speaker", ["speaker"], ["speaker"]),
        ("twin", ["speaker", "emotion", "statement", "intensity"], ["speaker", "statement"]),
        ("content", ["content"], ["content"]),
    ):
        seen = rows[~test].groupby(["fold", *columns]).size().index
        keys = pd.MultiIndex.from_frame(rows.loc[test, ["fold", *columns]])
        leaked = keys.isin(seen) & (rows.loc[test, known] != "").all(axis=1).to_numpy()
        report[name] = float(leaked.mean()) if len(leaked) else 0.0
    return report


def independent(table: pd.DataFrame, assignment: pd.DataFrame) -> bool:
    """Whether every test clip's speaker is known and in no other part of the fold."""
    tested = table["clip"].isin(assignment["clip"])
    return bool(table.loc[tested, "speaker"].ne("").all()) and leak_report(table, assignment)["speaker"] == 0


def refuse_leaks(table: pd.DataFrame, assignment: pd.DataFrame, corpus: str, protocol: str) -> None:
    """Raise SplitError if a speaker or a recording is in two parts of a fold."""
    leaks = leak_report(table, assignment)
    validation = leak_report(table, assignment[assignment["part"].ne("test")].replace({"part": {"valid": "test"}}))
    for name, cure in (
        ("speaker", "check the speaker column of the corpus"),
        ("content", "the same recording occurs under several speakers: set preprocess.deduplicate to true or correct their labels"),
    ):
        for part, shares in (("test", leaks), ("validation", validation)):
            if shares[name] > 0:
                raise SplitError(
                    f"{corpus}: protocol {protocol} promises speaker independence, but {shares[name]:.1%} of the {part} clips share their "
                    f"{name} with other parts of the fold; {cure}"
                )
