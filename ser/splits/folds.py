"""Assigns each clip to training, validation or test in each fold, by a named protocol.

A score means little without its protocol: on RAVDESS the same network gains 12 points of UA when test
speakers are also in training (docs/results.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from ser.corpora.catalogue import catalogue
from ser.corpora.description import PublishedFolds
from ser.params.split import Split
from ser.splits import fold_file
from ser.splits.holdout import hold_out, hold_out_speakers
from ser.splits.leaks import SplitError, independent, leak_report, refuse_leaks

__all__ = ["Folds", "SplitError", "assign", "leak_report"]


@dataclass(frozen=True)
class Folds:
    """A split.

    Attributes:
        assignment: columns clip, fold (from 1), part (train, valid, test); sorted by fold, then clip.
        protocol: the one used, never ``auto``.
        description: one sentence that explains the split beside a score.
        speaker_independent: whether no test speaker is heard in training or validation, in any fold.
    """

    assignment: pd.DataFrame
    protocol: str
    description: str
    speaker_independent: bool


def assign(table: pd.DataFrame, corpus: str, split: Split) -> Folds:
    """Split a corpus; row order does not matter, and the same table and seed give the same split.

    Args:
        table: ``clips.csv`` with at least clip, corpus, emotion, speaker, gender, intensity, statement,
            content.
        corpus: its name, by which published folds are known.
        split: the protocol and its numbers. A protocol that this corpus cannot have
            (``cross_corpus`` outside a joint corpus, ``official`` for the demo) is replaced by ``auto``, and
            the description says so.

    Raises:
        SplitError: if the clips do not suffice for the protocol, a class would be missing in training, or a
            split that is called speaker-independent shares a speaker or a recording between test and the
            rest.
    """
    table = table.sort_values("clip", kind="stable", ignore_index=True)
    if table["emotion"].nunique() < 2:
        labels = ", ".join(table["emotion"].unique()) or "none"
        raise SplitError(f"{corpus}: at least two emotions are needed to learn anything; found: {labels}")
    protocol, remark = _resolve(table, corpus, split)
    makers: dict[str, Callable[[], tuple[list[np.ndarray], str]]] = {
        "speaker": lambda: _speaker(table, corpus, split),
        "official": lambda: _from_file(table, corpus, split) if split.fold_file else _published(table, corpus, split),
        "random": lambda: _random(table, corpus, split),
        "cross_corpus": lambda: _cross_corpus(table, corpus, split),
    }
    parts, description = makers[protocol]()
    assignment = pd.concat([_rows(table, part, fold) for fold, part in enumerate(parts, 1)], ignore_index=True)
    _check_classes(table, assignment, corpus)
    claimed = protocol in ("speaker", "cross_corpus") or (protocol == "official" and not split.fold_file)
    if claimed:
        refuse_leaks(table, assignment, corpus, protocol)
    if split.use_folds:
        assignment, remark = _restrict(assignment, len(parts), split.use_folds, remark)
    return Folds(assignment, protocol, remark + description, independent(table, assignment))


def _resolve(table: pd.DataFrame, corpus: str, split: Split) -> tuple[str, str]:
    """The protocol to use, and a remark where it is not the one asked for."""
    asked, remark = split.protocol, ""
    if asked == "cross_corpus" and table["corpus"].nunique() < 2:
        asked, remark = "auto", "cross_corpus concerns joint corpora only; "
    if asked == "official" and corpus == "demo":
        asked, remark = "auto", "the demo has no published folds; "
    if asked != "auto":
        return asked, remark
    folds = _published_folds(corpus)
    whole = folds is not None and folds.speakers() == set(table["speaker"])
    return ("official" if whole else "speaker"), remark


def _speaker(table: pd.DataFrame, corpus: str, split: Split) -> tuple[list[np.ndarray], str]:
    _need_speakers(table, corpus, "speaker")
    speakers = table["speaker"].nunique()
    if speakers < split.folds:
        raise SplitError(
            f"{corpus}: {split.folds} speaker-disjoint folds need at least {split.folds} speakers, found {speakers}; "
            f"set corpora.{corpus}.split.folds to at most {speakers}" + (", or its protocol to random" if speakers < 3 else "")
        )
    # gender is part of the class, so that the folds' genders are balanced too; scikit-learn wants one class
    # with as many clips as folds
    kinds = (table["emotion"] + "/" + table["gender"], table["emotion"], pd.Series("", index=table.index))
    kind = next(kind for kind in kinds if kind.value_counts().max() >= split.folds)
    splitter = StratifiedGroupKFold(split.folds, shuffle=True, random_state=split.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        tests = [table["speaker"].iloc[test].unique() for _, test in splitter.split(table, kind, table["speaker"])]
    if max(len(test) for test in tests) > speakers - 2:  # few speakers of very different size: balance their number instead
        tests = _dealt(table, split)
    parts = _with_validation(table, [table["speaker"].isin(test).to_numpy() for test in tests], corpus, split)
    return parts, f"{split.folds} speaker-disjoint folds, stratified by emotion and gender"


def _dealt(table: pd.DataFrame, split: Split) -> list[np.ndarray]:
    """Test speakers of each fold, dealt out like cards: women before men, in an order drawn by seed."""
    gender = table.groupby("speaker")["gender"].min()
    drawn = gender.sample(frac=1, random_state=split.seed).sort_values(kind="stable").index.to_numpy(dtype=object)
    return [drawn[fold :: split.folds] for fold in range(split.folds)]


def _published_folds(corpus: str) -> PublishedFolds | None:
    described = catalogue().get(corpus)
    return described.folds if described is not None else None


def _published(table: pd.DataFrame, corpus: str, split: Split) -> tuple[list[np.ndarray], str]:
    folds = _published_folds(corpus)
    if folds is None:
        having = ", ".join(name for name, described in catalogue().items() if described.folds is not None)
        raise SplitError(
            f"{corpus}: the project has no published folds for this corpus (only for {having}); "
            f"name a CSV of them (path, fold, part) in corpora.{corpus}.split.fold_file, or set its protocol to speaker"
        )
    known, there = folds.speakers(), set(table["speaker"])
    if known != there:
        raise SplitError(
            f"{corpus}: the published folds need exactly their {len(known)} speakers; "
            f"missing: {', '.join(sorted(known - there)) or 'none'}; unknown: {', '.join(sorted(there - known)) or 'none'}. "
            f"Set corpora.{corpus}.split.protocol to speaker"
        )
    tests = [table["speaker"].isin(fold).to_numpy() for fold in folds.tests()]
    return _with_validation(table, tests, corpus, split), f"{len(tests)} published speaker-independent folds ({folds.source})"


def _from_file(table: pd.DataFrame, corpus: str, split: Split) -> tuple[list[np.ndarray], str]:
    listed = fold_file.read(Path(str(split.fold_file)))
    listed["clip"] = fold_file.clip_of(listed["path"], table["clip"])
    unknown = int(listed["clip"].eq("").sum())
    listed = listed[listed["clip"].ne("")]
    if listed.empty:
        raise SplitError(f"{corpus}: {split.fold_file} names none of its {len(table)} clips; is it the list of another corpus?")
    if listed.duplicated(["clip", "fold"]).any():
        twice = listed.loc[listed.duplicated(["clip", "fold"]), "path"].iat[0]
        raise SplitError(f"{corpus}: {split.fold_file} names {twice} twice in one fold")
    parts: list[np.ndarray] = []
    for fold in sorted(listed["fold"].unique()):
        rows = listed[listed["fold"] == fold]
        part = table["clip"].map(dict(zip(rows["clip"], rows["part"], strict=True))).fillna("").to_numpy(dtype=object)
        if not {"train", "test"} <= set(part):
            raise SplitError(f"{corpus}: fold {fold} of {split.fold_file} needs clips for both train and test")
        if "valid" not in part:
            part = hold_out(table, part, corpus, split, len(parts) + 1, parts)
        parts.append(part)
    unused = sum(int((part == "").sum()) for part in parts)
    rest = f"; {unused} clip(s) in no part of a fold, {unknown} line(s) without a clip" if unused or unknown else ""
    return parts, f"{len(parts)} fold(s) of {Path(str(split.fold_file)).name}{rest}"


def _random(table: pd.DataFrame, corpus: str, split: Split) -> tuple[list[np.ndarray], str]:
    part = np.full(len(table), "train", dtype=object)
    test_share = split.valid_share if split.test_share is None else split.test_share
    rng = np.random.default_rng([split.seed])
    for emotion in sorted(table["emotion"].unique()):
        rows = rng.permutation(np.flatnonzero(table["emotion"] == emotion))
        tested, held = (max(1, round(share * len(rows))) for share in (test_share, split.valid_share))
        if len(rows) < tested + held + 1:
            raise SplitError(f"{corpus}: a random split needs at least 3 clips of each emotion; {emotion!r} has {len(rows)}")
        part[rows[:tested]], part[rows[tested : tested + held]] = "test", "valid"
    valid, test = round(100 * split.valid_share), round(100 * test_share)
    return [part], f"random {100 - valid - test}/{valid}/{test} per emotion by clip; speakers are shared"


def _cross_corpus(table: pd.DataFrame, corpus: str, split: Split) -> tuple[list[np.ndarray], str]:
    known = sorted(table["corpus"].unique())
    for key, members in (("train_on", split.train_on), ("test_on", split.test_on)):
        wrong = [member for member in members if member not in known]
        if wrong or not members:
            problem = f"{wrong[0]!r} is not in it" if wrong else "it is empty"
            raise SplitError(f"{corpus}: split.{key} must name members of the joint corpus ({', '.join(known)}); {problem}")
    both = sorted(set(split.train_on) & set(split.test_on))
    if both:
        raise SplitError(f"{corpus}: {both[0]!r} is in both split.train_on and split.test_on")
    learning = table["corpus"].isin(split.train_on).to_numpy()
    _need_speakers(table[learning], corpus, "cross_corpus")
    part = np.where(learning, "train", np.where(table["corpus"].isin(split.test_on), "test", "")).astype(object)
    names = [", ".join(members) for members in (split.train_on, split.test_on)]
    return [hold_out_speakers(table, part, corpus, split, 1, [])], f"trained on {names[0]}, tested on {names[1]}"


def _need_speakers(table: pd.DataFrame, corpus: str, protocol: str) -> None:
    nameless = int(table["speaker"].eq("").sum())
    if nameless:
        raise SplitError(
            f"{corpus}: protocol {protocol} needs the speaker of every clip; {nameless} have none. "
            f"Set corpora.{corpus}.split.protocol to random"
        )
    if table["speaker"].nunique() < 2:
        raise SplitError(
            f"{corpus}: protocol {protocol} needs clips of several speakers, found one; set corpora.{corpus}.split.protocol to random"
        )


def _with_validation(table: pd.DataFrame, tests: list[np.ndarray], corpus: str, split: Split) -> list[np.ndarray]:
    """Parts of each fold from its test clips (bool): validation speakers are taken from the others."""
    parts: list[np.ndarray] = []
    for fold, test in enumerate(tests, 1):
        part = np.where(test, "test", "train").astype(object)
        parts.append(hold_out_speakers(table, part, corpus, split, fold, parts))
    return parts


def _rows(table: pd.DataFrame, part: np.ndarray, fold: int) -> pd.DataFrame:
    rows = pd.DataFrame({"clip": table["clip"], "fold": fold, "part": pd.array(part, dtype="string")})
    return rows[rows["part"].ne("")]


def _check_classes(table: pd.DataFrame, assignment: pd.DataFrame, corpus: str) -> None:
    rows = assignment.merge(table[["clip", "emotion", "speaker"]], on="clip")
    for fold, clips in rows.groupby("fold"):
        trained = set(clips["emotion"][clips["part"] == "train"])
        for emotion in sorted(set(clips["emotion"]) - trained):
            speakers = table["speaker"][table["emotion"] == emotion].nunique()
            raise SplitError(
                f"{corpus}: fold {fold} has no training clip of {emotion!r}, which {speakers} speaker(s) express. A speaker-disjoint split "
                f"needs three or more for each emotion; leave it out of corpora.{corpus}.labels.classes, change folds or seed of "
                f"corpora.{corpus}.split, or set its protocol to random"
            )


def _restrict(assignment: pd.DataFrame, folds: int, wanted: Iterable[int], remark: str) -> tuple[pd.DataFrame, str]:
    chosen = sorted(set(wanted))
    if not set(chosen) <= set(range(1, folds + 1)):
        raise SplitError(f"split.use_folds: {chosen} are not all among the folds 1 to {folds}")
    numbers = ", ".join(str(fold) for fold in chosen)
    return assignment[assignment["fold"].isin(chosen)].reset_index(drop=True), f"{remark}only fold(s) {numbers} of "
