"""Splits: every protocol on tables made by hand and by Hypothesis, on RAVDESS' shape, and on the real lists of two corpora."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ser.corpora import demo
from ser.corpora.catalogue import catalogue, ravdess
from ser.corpora.labels import Recording
from ser.corpora.listing import labels
from ser.params import load
from ser.params.corpora import Synthetic
from ser.params.split import Split
from ser.signal import clips
from ser.splits import folds
from ser.splits.folds import SplitError, assign, leak_report

ROOT = Path(__file__).parents[2]
SHIPPED = load(ROOT / "params.yaml")
MIRROR = Path(os.environ.get("SER_MIRROR") or ROOT.parent / "shared" / "data")
assert ravdess.CORPUS.folds is not None
EMOBOX = ravdess.CORPUS.folds


def settings_of(**changes: Any) -> Split:
    return Split.model_validate({**SHIPPED.split.model_dump(), "folds": 5, **changes})


def table_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A clips table with the columns that matter here; content differs unless it is given."""
    blank = {"corpus": "c", "emotion": "", "speaker": "", "gender": "", "intensity": "", "statement": "", "repetition": ""}
    made = [{**blank, "clip": f"{i:05}.wav", "content": f"hash{i}", **row} for i, row in enumerate(rows)]
    return pd.DataFrame(made).astype("string")


def labelled(members: list[str], corpus: str) -> pd.DataFrame:
    rows = []
    for member in members:
        label = labels(corpus, member, next(iter(catalogue()[corpus].editions)))
        if isinstance(label, Recording):
            rows.append({**vars(label), "clip": member, "corpus": corpus})
    return table_of(rows)


@pytest.fixture(scope="module")
def ravdess_table() -> pd.DataFrame:
    """All 1,440 names of the corpus: neutral without strong intensity."""
    names = [
        f"Actor_{actor:02}/03-01-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}.wav"
        for actor in range(1, 25)
        for emotion in range(1, 9)
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for statement in (1, 2)
        for repetition in (1, 2)
    ]
    table = labelled(names, "ravdess")
    assert len(table) == 1440
    return table


@pytest.fixture(scope="module")
def demo_table() -> pd.DataFrame:
    source = Synthetic(kind="synthetic", seed=7, speakers=12, sentences=4, repetitions=2)
    return labelled([take.member for take in demo.takes(source)], "demo")


def parts_of(table: pd.DataFrame, found: folds.Folds, fold: int, part: str) -> pd.DataFrame:
    rows = found.assignment[(found.assignment["fold"] == fold) & (found.assignment["part"] == part)]
    return table[table["clip"].isin(rows["clip"])]


def check_speaker_disjoint(table: pd.DataFrame, found: folds.Folds, count: int) -> None:
    assert sorted(found.assignment["fold"].unique()) == list(range(1, count + 1))
    tested = found.assignment.loc[found.assignment["part"] == "test", "clip"]
    assert sorted(tested) == sorted(table["clip"])  # each clip is tested exactly once
    for fold in range(1, count + 1):
        assert (found.assignment["fold"] == fold).sum() == len(table)
        speakers = [set(parts_of(table, found, fold, part)["speaker"]) for part in ("train", "valid", "test")]
        assert all(speakers)
        assert not speakers[0] & speakers[1]
        assert not (speakers[0] | speakers[1]) & speakers[2]
        assert set(parts_of(table, found, fold, "train")["emotion"]) == set(table["emotion"])
    assert found.speaker_independent
    assert leak_report(table, found.assignment) == {"speaker": 0.0, "twin": 0.0, "content": 0.0}


def test_ravdess_gets_its_published_folds(ravdess_table: pd.DataFrame) -> None:
    for protocol in ("auto", "official"):
        found = assign(ravdess_table, "ravdess", settings_of(protocol=protocol))
        assert found.protocol == "official"
        check_speaker_disjoint(ravdess_table, found, 6)
        held: list[str] = []
        for fold, speakers in enumerate(EMOBOX.tests(), 1):
            assert sorted(parts_of(ravdess_table, found, fold, "test")["speaker"].unique()) == speakers
            valid = parts_of(ravdess_table, found, fold, "valid")
            assert sorted(valid.groupby("gender")["speaker"].nunique().items()) == [("female", 1), ("male", 1)]
            held += list(valid["speaker"].unique())
        assert len(set(held)) == 12  # another pair in every fold


def test_ravdess_published_folds_are_those_of_the_paper() -> None:
    """The lists themselves: 6 × 4 actors, all 24 once."""
    actors = [actor for fold in EMOBOX.tests() for actor in fold]
    assert sorted(actors) == [f"{actor:02}" for actor in range(1, 25)]
    assert [len(fold) for fold in EMOBOX.tests()] == [4] * 6
    assert EMOBOX.tests()[0] == ["01", "11", "20", "21"]


def test_random_shares_speakers_and_twins_on_ravdess_and_says_so(ravdess_table: pd.DataFrame) -> None:
    found = assign(ravdess_table, "ravdess", settings_of(protocol="random"))
    sizes = found.assignment["part"].value_counts().to_dict()
    assert sizes == {"train": 1440 - 2 * 143, "valid": 143, "test": 143}  # 10 and 7 × 19 of 96 and 7 × 192
    leaks = leak_report(ravdess_table, found.assignment)
    assert not found.speaker_independent
    assert "speakers are shared" in found.description
    assert leaks["speaker"] == 1.0
    # the twin is one other clip, and 90 % of clips are not in test
    assert leaks["twin"] == pytest.approx(0.9, abs=0.06)
    assert leaks["content"] == 0.0


def test_demo_speaker_folds_are_balanced(demo_table: pd.DataFrame) -> None:
    found = assign(demo_table, "demo", settings_of())
    assert found.protocol == "speaker"
    check_speaker_disjoint(demo_table, found, 5)
    for fold in range(1, 6):
        test = parts_of(demo_table, found, fold, "test")
        assert test["gender"].nunique() == 2
        assert test["emotion"].value_counts().nunique() == 1


def test_folds_do_not_depend_on_row_order_but_on_the_seed(demo_table: pd.DataFrame) -> None:
    shuffled = demo_table.sample(frac=1, random_state=1)
    for protocol in ("speaker", "random"):
        split = settings_of(protocol=protocol)
        first = assign(demo_table, "demo", split).assignment
        pd.testing.assert_frame_equal(first, assign(shuffled, "demo", split).assignment)
        assert not first.equals(assign(demo_table, "demo", settings_of(protocol=protocol, seed=1)).assignment)
        assert list(first.columns) == ["clip", "fold", "part"]
        pd.testing.assert_frame_equal(first, first.sort_values(["fold", "clip"], ignore_index=True))


def test_use_folds_keeps_some_and_says_which(demo_table: pd.DataFrame) -> None:
    every = assign(demo_table, "demo", settings_of())
    some = assign(demo_table, "demo", settings_of(use_folds=[4, 2]))
    kept = every.assignment[every.assignment["fold"].isin([2, 4])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some.assignment, kept)
    assert some.description.startswith("only fold(s) 2, 4 of 5 speaker-disjoint folds")
    with pytest.raises(SplitError, match=r"split.use_folds: \[6\] are not all among the folds 1 to 5"):
        assign(demo_table, "demo", settings_of(use_folds=[6]))


corpus_tables = st.integers(4, 9).flatmap(
    lambda speakers: st.lists(
        st.tuples(st.integers(0, speakers - 1), st.sampled_from(["angry", "sad"]), st.integers(1, 4)), min_size=1, max_size=30
    ).map(
        lambda extra: table_of(
            [{"speaker": f"{s}", "emotion": e, "gender": ["female", "male", ""][s % 3]} for s in range(speakers) for e in ("angry", "sad")]
            + [{"speaker": f"{s}", "emotion": e, "gender": ["female", "male", ""][s % 3]} for s, e, times in extra for _ in range(times)]
        )
    )
)


@settings(max_examples=40)
@given(corpus_tables, st.integers(2, 4), st.integers(0, 5), st.floats(0.05, 0.45))
def test_speaker_folds_of_any_corpus_are_disjoint(table: pd.DataFrame, count: int, seed: int, share: float) -> None:
    """Whenever every speaker expresses every emotion and at least two are left outside the test part."""
    split = settings_of(protocol="speaker", folds=count, seed=seed, valid_share=share)
    check_speaker_disjoint(table, assign(table, "c", split), count)


@settings(max_examples=40)
@given(st.lists(st.integers(3, 60), min_size=2, max_size=5), st.integers(0, 9), st.floats(0.05, 0.33), st.none() | st.floats(0.05, 0.33))
def test_random_parts_have_the_share_of_each_class(sizes: list[int], seed: int, share: float, test_share: float | None) -> None:
    table = table_of([{"emotion": f"e{k}", "speaker": "1"} for k, size in enumerate(sizes) for _ in range(size)])
    found = assign(table, "c", settings_of(protocol="random", seed=seed, valid_share=share, test_share=test_share))
    rows = found.assignment.merge(table, on="clip")
    assert sorted(rows["clip"]) == sorted(table["clip"])
    for k, size in enumerate(sizes):
        held, tested = (max(1, round(part * size)) for part in (share, share if test_share is None else test_share))
        counts = rows[rows["emotion"] == f"e{k}"]["part"].value_counts().to_dict()
        assert counts == {"train": size - held - tested, "valid": held, "test": tested}


@pytest.mark.parametrize("seed", range(5))
def test_validation_leaves_every_emotion_in_training(seed: int) -> None:
    """Two speakers have the emotion: where one is tested, the other must stay in training."""
    rare = [{"speaker": speaker, "emotion": "rare"} for speaker in ("02", "05") for _ in range(3)]
    table = table_of([*speakers(8), *rare])
    check_speaker_disjoint(table, assign(table, "c", settings_of(folds=4, valid_share=0.45, seed=seed)), 4)


def leaky(rows: list[tuple[str, dict[str, str]]]) -> dict[str, float]:
    table = table_of([row for _, row in rows])
    assignment = pd.DataFrame({"clip": table["clip"], "fold": 1, "part": [part for part, _ in rows]})
    return leak_report(table, assignment)


def test_leak_report_by_hand() -> None:
    same = {"emotion": "sad", "speaker": "1", "statement": "a", "intensity": "normal"}
    rows = [
        ("train", {**same, "repetition": "1"}),
        ("test", {**same, "repetition": "2"}),  # speaker and twin
        ("test", {**same, "emotion": "angry"}),  # speaker
        ("test", {**same, "intensity": "strong"}),  # speaker
        ("test", {**same, "speaker": "2"}),  # nothing
        ("valid", {"emotion": "sad", "speaker": "3", "content": "x"}),
        ("test", {"emotion": "sad", "speaker": "4", "content": "x"}),  # content, and validation counts
        ("test", {"emotion": "sad", "speaker": "3"}),  # speaker; what is said is not known
        ("test", {"emotion": "sad", "speaker": "", "content": ""}),  # nothing is known
        ("train", {"emotion": "sad", "speaker": "", "content": ""}),
    ]
    assert leaky(rows) == {"speaker": 4 / 7, "twin": 1 / 7, "content": 1 / 7}


def test_leaks_are_counted_within_each_fold() -> None:
    table = table_of([{"speaker": "1"}, {"speaker": "1"}])
    assignment = pd.DataFrame({"clip": ["00000.wav", "00001.wav"] * 2, "fold": [1, 1, 2, 2], "part": ["test", "test", "test", "train"]})
    assert leak_report(table, assignment)["speaker"] == pytest.approx(1 / 3)


def test_nothing_tested_leaks_nothing() -> None:
    assert leaky([("train", {"speaker": "1"})]) == {"speaker": 0.0, "twin": 0.0, "content": 0.0}


def speakers(count: int, emotions: tuple[str, ...] = ("angry", "sad"), **more: str) -> list[dict[str, str]]:
    return [{"speaker": f"{s:02}", "emotion": emotion, **more} for s in range(count) for emotion in emotions for _ in range(3)]


def test_a_recording_under_two_speakers_is_refused() -> None:
    rows = speakers(6)
    rows[0]["content"] = rows[-1]["content"] = "the same"
    with pytest.raises(SplitError, match=r"promises speaker independence, but .* share their content .*preprocess.deduplicate"):
        assign(table_of(rows), "c", settings_of(protocol="speaker", folds=3))
    assert assign(table_of(rows), "c", settings_of(protocol="random")).protocol == "random"


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([], {}, "at least two emotions .* found: none"),
        (speakers(5, ("sad",)), {}, "at least two emotions .* found: sad"),
        (speakers(1), {}, "protocol speaker needs clips of several speakers, found one; set corpora.c.split.protocol to random"),
        (speakers(3), {}, "5 speaker-disjoint folds need at least 5 speakers, found 3; set corpora.c.split.folds to at most 3"),
        (speakers(2), {"folds": 2}, "fold 1 leaves 1 speaker .* at least 3 speakers"),
        ([*speakers(5), {"emotion": "sad"}], {}, "needs the speaker of every clip; 1 have none"),
        ([*speakers(6), {"emotion": "rare", "speaker": "00"}], {}, "no training clip of 'rare', which 1 speaker.*labels.classes"),
        ([*speakers(6), {"emotion": "rare", "speaker": "00"}], {"protocol": "random"}, "at least 3 clips of each emotion; 'rare' has 1"),
        (
            speakers(6),
            {"protocol": "official"},
            "the project has no published folds for this corpus .*corpora.c.split.fold_file, or set its protocol",
        ),
        (speakers(6), {"protocol": "official", "fold_file": "no/such.csv"}, "split.fold_file: no/such.csv not found"),
        (speakers(6, ("a", "b"))[::3], {"folds": 5}, None),
    ],
)
def test_what_cannot_be_split_says_what_is_needed(rows: list[dict[str, str]], changes: dict[str, Any], message: str | None) -> None:
    table = table_of(rows) if rows else table_of([{}]).iloc[:0]
    if message is None:
        assert assign(table, "c", settings_of(**changes)).protocol == "speaker"
    else:
        with pytest.raises(SplitError, match=f"(?s){message}"):
            assign(table, "c", settings_of(**changes))


def test_published_folds_need_their_speakers(ravdess_table: pd.DataFrame) -> None:
    part = ravdess_table[ravdess_table["speaker"] <= "10"]
    with pytest.raises(SplitError, match=r"need exactly their 24 speakers; missing: 11, 12, .*; unknown: none"):
        assign(part, "ravdess", settings_of(protocol="official"))
    assert assign(part, "ravdess", settings_of()).protocol == "speaker"


def test_the_demo_in_a_run_of_another_protocol_is_split_by_speaker(demo_table: pd.DataFrame) -> None:
    for protocol in ("official", "cross_corpus"):
        found = assign(demo_table, "demo", settings_of(protocol=protocol))
        assert found.protocol == "speaker"
        assert found.description.startswith(("the demo has no published folds; ", "cross_corpus concerns joint corpora only; "))


def joint() -> pd.DataFrame:
    rows = [{**row, "corpus": corpus, "speaker": f"{corpus}:{row['speaker']}"} for corpus in ("one", "two", "three") for row in speakers(5)]
    return table_of(rows)


def test_cross_corpus_trains_on_some_members_and_tests_on_others() -> None:
    table = joint()
    found = assign(table, "joint", settings_of(protocol="cross_corpus", train_on=["one", "three"], test_on=["two"]))
    assert found.protocol == "cross_corpus"
    assert found.description == "trained on one, three, tested on two"
    assert found.speaker_independent
    assert set(parts_of(table, found, 1, "test")["corpus"]) == {"two"}
    assert set(parts_of(table, found, 1, "train")["corpus"]) == {"one", "three"}
    valid = parts_of(table, found, 1, "valid")
    assert set(valid["corpus"]) <= {"one", "three"}
    assert not set(valid["speaker"]) & set(parts_of(table, found, 1, "train")["speaker"])
    left = assign(table, "joint", settings_of(protocol="cross_corpus", train_on=["one"], test_on=["two"]))
    assert not left.assignment["clip"].isin(table.loc[table["corpus"] == "three", "clip"]).any()


@pytest.mark.parametrize(
    ("train_on", "test_on", "message"),
    [
        ([], ["two"], r"split.train_on must name members of the joint corpus \(one, three, two\); it is empty"),
        (["one"], ["four"], "split.test_on .*; 'four' is not in it"),
        (["one"], ["one"], "'one' is in both"),
    ],
)
def test_cross_corpus_names_wrong_members(train_on: list[str], test_on: list[str], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        assign(joint(), "joint", settings_of(protocol="cross_corpus", train_on=train_on, test_on=test_on))


def test_an_emotion_tested_but_never_trained_is_refused_across_corpora() -> None:
    table = pd.concat([joint(), table_of([{"corpus": "two", "speaker": "two:00", "emotion": "calm", "clip": "x"}])], ignore_index=True)
    with pytest.raises(SplitError, match="no training clip of 'calm'"):
        assign(table, "joint", settings_of(protocol="cross_corpus", train_on=["one"], test_on=["two"]))


def write_folds(path: Path, table: pd.DataFrame, test: "pd.Series[bool]", name: str = "{}") -> str:
    listed = pd.DataFrame({"path": table["clip"].map(name.format), "fold": 1, "part": np.where(test, "test", "train")})
    listed.to_csv(path, index=False)
    return str(path)


def test_a_fold_file_with_shared_speakers_is_used_and_called_so(demo_table: pd.DataFrame, tmp_path: Path) -> None:
    test = pd.Series(np.arange(len(demo_table)) % 4 == 0)
    file = write_folds(tmp_path / "folds.csv", demo_table, test, name="/another/root/{}")  # roots differ between copies
    found = assign(demo_table, "shemo", settings_of(protocol="official", fold_file=file))
    assert found.protocol == "official"
    assert found.description == "1 fold(s) of folds.csv"
    assert not found.speaker_independent
    assert sorted(parts_of(demo_table, found, 1, "test")["clip"]) == sorted(demo_table["clip"][test])
    valid = parts_of(demo_table, found, 1, "valid")
    assert len(valid) == pytest.approx(0.1 * (~test).sum(), rel=0.1)
    assert valid["emotion"].nunique() == 6


def test_a_speaker_disjoint_fold_file_gets_validation_speakers(demo_table: pd.DataFrame, tmp_path: Path) -> None:
    file = write_folds(tmp_path / "folds.csv", demo_table, demo_table["speaker"] <= "03")
    found = assign(demo_table, "shemo", settings_of(protocol="official", fold_file=file))
    assert found.speaker_independent
    assert not set(parts_of(demo_table, found, 1, "valid")["speaker"]) & set(parts_of(demo_table, found, 1, "train")["speaker"])


def test_clips_that_a_fold_file_leaves_out_are_counted(demo_table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    write_folds(path, demo_table.iloc[10:], demo_table["speaker"].iloc[10:] <= "03")
    path.write_text(path.read_text() + "not/here.wav,1,train\n")
    found = assign(demo_table, "shemo", settings_of(protocol="official", fold_file=str(path)))
    assert found.description.endswith("10 clip(s) in no part of a fold, 1 line(s) without a clip")
    assert len(found.assignment) == len(demo_table) - 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a CSV"),
        ("path,fold\na,1\n", "has no column part"),
        ("path,fold,part\na,1,train\nb,one,test\n", "line 3: fold 'one', part 'test'"),
        ("path,fold,part\na,1,dev\n", "line 2: fold '1', part 'dev'"),
        ("path,fold,part\na,1,train\n", "names none of its 576 clips"),
        ("path,fold,part\n{0},1,train\n{0},1,test\n", "twice in one fold"),
        ("path,fold,part\n{0},1,train\n{1},1,valid\n", "fold 1 .* needs clips for both train and test"),
    ],
)
def test_broken_fold_files(demo_table: pd.DataFrame, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "folds.csv"
    path.write_text(text.format(*demo_table["clip"].head(2)))
    with pytest.raises(SplitError, match=message):
        assign(demo_table, "shemo", settings_of(protocol="official", fold_file=str(path)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pipe", "pipe: no regular file"),
        ("/dev/zero", "/dev/zero: no regular file"),
        ("a\0b", "no file can have this name"),
        ("folds.csv.gz", r"folds\.csv\.gz is not written in UTF-8"),
        ("folds.csv.zip", "has no column path, fold, part"),
        (".", "a folder"),
    ],
)
def test_a_fold_file_that_is_none_is_one_message(
    demo_table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("folds.csv.gz").write_bytes(gzip.compress(b"path,fold,part\n"))
    Path("folds.csv.zip").write_text("nothing packed")
    with pytest.raises(SplitError, match=f"split.fold_file: .*{message}"):
        assign(demo_table, "shemo", settings_of(protocol="official", fold_file=name))


def test_empty_cells_at_the_end_of_rows_are_no_columns(demo_table: pd.DataFrame, tmp_path: Path) -> None:
    """A spreadsheet that once had more columns writes them."""
    write_folds(path := tmp_path / "folds.csv", demo_table, demo_table["speaker"] <= "03")
    plain = assign(demo_table, "shemo", settings_of(protocol="official", fold_file=str(path)))
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *(f"{row},," for row in rows)]) + "\n")
    found = assign(demo_table, "shemo", settings_of(protocol="official", fold_file=str(path)))
    pd.testing.assert_frame_equal(found.assignment, plain.assignment)


@pytest.mark.parametrize(("corpus", "listing"), [("asvp_esd_v2", "asvp_esd_v2_files.tsv.gz"), ("shemo", "shemo_files.tsv.gz")])
def test_real_lists_split_by_speaker(corpus: str, listing: str) -> None:
    """Speakers of very different size and emotions that few of them express: still disjoint, and no fold far from its share."""
    if not (MIRROR / listing).is_file():
        pytest.skip(f"{listing} not found in {MIRROR}; set SER_MIRROR to the folder that has it")
    paths = pd.read_csv(MIRROR / listing, sep="\t", dtype="string")["path"]
    table = labelled(list(paths), corpus)
    wanted = SHIPPED.corpora[corpus].labels.classes
    table = table[table["emotion"].isin(wanted)].reset_index(drop=True)
    found = assign(table, corpus, settings_of())
    check_speaker_disjoint(table, found, 5)
    for fold in range(1, 6):
        assert 0.1 < len(parts_of(table, found, fold, "test")) / len(table) < 0.3
        assert 0.04 < len(parts_of(table, found, fold, "valid")) / len(table) < 0.16
        assert parts_of(table, found, fold, "valid")["emotion"].nunique() == len(wanted)


def write_clips(demo_table: pd.DataFrame, root: Path) -> None:
    """The demo's clips.csv, as preprocess writes it."""
    folder = root / "data" / "clips" / "demo"
    folder.mkdir(parents=True)
    full = demo_table.assign(language="english", channel="speech", samples=16000, source_seconds=1.0, missing=0.0, removed=0.0)
    full = full.assign(no_speech=False, snr_db=np.nan, offset=16000 * np.arange(len(full)))
    full[list(clips.COLUMNS)].to_csv(folder / "clips.csv", index=False)


def test_stage_writes_both_files_the_same_each_time(demo_table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    write_clips(demo_table, tmp_path)
    command = [sys.executable, "-m", "stages.split", "--dataset", "demo"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert f"demo: speaker ({SHIPPED.split.folds} speaker-disjoint folds" in done.stdout
    assert "speaker 0.0%, twin 0.0%, content 0.0%" in done.stdout
    written = {name: (tmp_path / "data" / "folds" / name).read_bytes() for name in ("demo.csv", "demo.json")}
    summary = json.loads(written["demo.json"])
    assert list(summary) == ["protocol", "description", "speaker_independent", "seed", "folds", "leaks"]
    assert list(summary["folds"]) == [str(fold) for fold in range(1, SHIPPED.split.folds + 1)]
    assert sum(fold["test"] for fold in summary["folds"].values()) == 576
    assert sorted(speaker for fold in summary["folds"].values() for speaker in fold["test_speakers"]) == [f"{s:02}" for s in range(1, 13)]
    assert written["demo.csv"].splitlines()[0] == b"clip,fold,part"
    subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    assert written == {name: (tmp_path / "data" / "folds" / name).read_bytes() for name in written}


@pytest.mark.parametrize(("corpus", "folds"), [("demo", 3), ("folder", SHIPPED.split.folds)])
def test_stage_takes_the_corpus_own_split_and_no_other_s(demo_table: pd.DataFrame, tmp_path: Path, corpus: str, folds: int) -> None:
    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    values["corpora"][corpus]["split"] = {"folds": 3}
    YAML().dump(values, tmp_path / "params.yaml")
    write_clips(demo_table, tmp_path)
    command = [sys.executable, "-m", "stages.split", "--dataset", "demo"]
    subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    assert len(json.loads((tmp_path / "data/folds/demo.json").read_text())["folds"]) == folds


def test_stage_without_clips_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    command = [sys.executable, "-m", "stages.split", "--dataset", "demo"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: data/clips/demo/clips.csv not found: run `dvc repro preprocess@demo` first"
