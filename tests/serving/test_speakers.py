"""Enrolled speakers: from recordings to a file in the user's folder and back, from the command and from Python."""

from __future__ import annotations

import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ser import SerError
from ser.serving import cli
from ser.serving.recogniser import Recogniser
from ser.serving.speakers import command, enrolment, store
from ser.serving.speakers.profile import Profile
from tests.serving import small

RATE = 16_000


@pytest.fixture(autouse=True)
def speakers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of profiles."""
    monkeypatch.setenv(store.FOLDER, str(tmp_path / "of/the user"))
    return tmp_path / "of/the user"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings in each of two folders named like classes, one beside them, and two that cannot be used."""
    place = tmp_path_factory.mktemp("recordings")
    for number, name in enumerate(["Happy/a", "Happy/b", "sad/a", "sad/b", "rest/a"]):
        (place / name).parent.mkdir(exist_ok=True)
        sf.write(place / f"{name}.wav", small.sound(1.5, number), RATE)
    (place / "rest/broken.wav").write_bytes(b"RIFFnonsense")
    sf.write(place / "rest/silent.wav", np.zeros(RATE), RATE)
    return place


def ser(*given: str) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        cli.main(given)
    return end.value.code


def test_from_recordings_to_answers_and_away_again(
    folder: Path, recordings: Path, speakers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--bundle", str(folder)]
    assert ser("enroll", "ada", str(recordings), *where) == 0
    out, err = capsys.readouterr()
    assert "ada: 5 of 7 recordings used, 4 with a label (happy 2, sad 2); 2 unusable" in out
    assert "expect: " in out
    assert err.count("unusable: ") == 2
    assert "silent: " in err
    assert "no labelled recording of: neutral" in err
    assert [path.name for path in speakers.iterdir()] == ["ada.json"]
    assert (speakers / "ada.json").stat().st_mode & 0o777 == 0o600

    assert ser("speakers") == 0
    assert capsys.readouterr().out == "ada: 5 recordings, 4 with a label, for the model of made\n"

    path = str(recordings / "Happy/a.wav")
    told = []
    for whose in ([], ["--speaker", "ada"]):
        assert ser("predict", path, "--json", *where, *whose) == 0
        told.append(json.loads(capsys.readouterr().out)["predictions"][0]["probabilities"])
    assert told[1]["happy"] > told[0]["happy"]
    model = Recogniser(folder)
    assert model.predict(path, speaker="ada").probabilities == pytest.approx(told[1], abs=1e-5)
    assert ser("predict", path, "--timeline", "--json", *where, "--speaker", "ada") == 0
    moments = json.loads(capsys.readouterr().out)["timelines"][0]["moments"]
    expected = [moment.probabilities for moment in model.timeline(path, speaker="ada").moments]
    assert [moment["probabilities"] for moment in moments] == [pytest.approx(one, abs=1e-5) for one in expected]

    assert ser("enroll", "ada", "--no-labels", str(recordings / "sad"), str(recordings / "Happy"), *where) == 0
    out, err = capsys.readouterr()
    assert "none with a label" in out
    assert "replaced: " in out
    assert ser("enroll", "--remove", "ada") == 0
    assert not list(speakers.iterdir())


def test_labels_from_a_table(folder: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "copy"
    shutil.copytree(recordings, place)
    (place / "labels.csv").write_text(
        "\ufeffPath;Label\nrest/a.wav;SAD\nHappy/a.wav;neutral\nnowhere.wav;sad\nsad/a.wav;\n", encoding="utf-8"
    )
    assert ser("enroll", "x", str(place), "--labels", str(place / "labels.csv"), "--bundle", str(folder)) == 0
    assert "2 with a label (neutral 1, sad 1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (b"", "lacks the column path, label"),
        (b"path,emotion\na.wav,sad\n", "lacks the column label"),
        (b"path,label\nnowhere.wav,sad\n", "lists none of these recordings"),
        (b"path,label\n", "lists none of these recordings"),
        (b'path,label\n"Happy/a.wav,sad\n', "line"),
        (b"path,label\nHappy/a.wav,furious\n", "the model has no class 'furious'; it has neutral, happy, sad"),
        (b"path,label\n\xff\xfe,sad\n", "UTF-8"),
        (b"path,label\n" + b"Happy/a.wav,sad\n" * 400_000, "more than 4194304 bytes"),
        (b"path,label\nloop/a.wav,sad\n", "lists none of these recordings"),
        (b"path,label\n\0,sad\n", "line 2: "),
        (b"path,label\nHappy/a.wav,sad\nHappy/../Happy/a.wav,happy\n", "line 3: a.wav has the label 'sad' already"),
        (None, "No such file"),
    ],
)
def test_a_wrong_table_is_one_message(folder: Path, recordings: Path, tmp_path: Path, table: bytes | None, says: str) -> None:
    shutil.copytree(recordings / "Happy", tmp_path / "Happy")
    (tmp_path / "loop").symlink_to("loop")
    if table is not None:
        (tmp_path / "labels.csv").write_bytes(table)
    code = ser("enroll", "x", str(tmp_path / "Happy"), "--labels", str(tmp_path / "labels.csv"), "--bundle", str(folder))
    assert str(code).startswith("error: ")
    assert says in str(code)


def test_what_cannot_be_done_is_said(folder: Path, recordings: Path, speakers: Path) -> None:
    where = ["--bundle", str(folder)]
    few = [str(recordings / name) for name in ("Happy/a.wav", "sad/a.wav", "rest/broken.wav")]
    cases = [
        (["enroll", "x", *few, *where], "a profile needs at least 4 usable recordings; found 2"),
        (["enroll", "x", *few, *where], "broken.wav: unreadable"),
        (["enroll", "x", "nowhere/", *where], "nowhere/: no such file or folder"),
        (["enroll", "x"], "2"),
        (["enroll", "../x", *few, *where], "is not a valid name"),
        (["enroll", "--remove", "x"], "nobody is enrolled"),
        (["enroll", "--remove", "../x"], "is not a valid name"),
        (["enroll", "--remove", "x", few[0]], "--remove takes one name"),
        (["predict", few[0], "--speaker", "x", *where], "no speaker x in"),
        (["predict", few[0], "--speaker", "../../x", *where], "is not a valid name"),
    ]
    for given, says in cases:
        assert says in str(ser(*given)), given
    assert not speakers.exists()
    for name in ("eve", "ada"):
        ser("enroll", name, str(recordings), *where)
    assert "enrolled: ada, eve" in str(ser("predict", few[0], "--speaker", "bob", *where))
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["predict", "x.wav", "--speaker", "ada", "--one-speaker"])


def test_too_many_recordings_are_refused_before_they_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "MOST", 5)
    with pytest.raises(SerError, match="more than 5 recordings"):
        Recogniser(folder).enroll([small.sound(0.5, seed) for seed in range(6)], sample_rate=RATE)


def test_from_python(folder: Path, speakers: Path) -> None:
    model = Recogniser(folder)
    waves = [small.sound(1, seed) for seed in range(4)]
    found = model.enroll(waves, ["sad", None, "happy", "sad"], RATE)
    assert not speakers.exists()
    assert (found.profile.clips, found.profile.labelled) == (4, {"happy": 1, "sad": 2})
    plain, own = (model.predict(waves[0], RATE, speaker=speaker) for speaker in (None, found.profile))
    assert own.probabilities["sad"] > plain.probabilities["sad"]
    assert model.predict(waves, RATE, speaker=found.profile)[0].probabilities == own.probabilities
    model.enroll(waves, None, RATE, name="eve")
    assert store.listed() == ["eve"]
    for given, problem in (
        ((waves, ["sad"], RATE), ValueError),
        (("x.wav",), TypeError),
        ((waves, ["no"] * 4, RATE), SerError),
        (([],), SerError),
    ):
        with pytest.raises(problem):
            model.enroll(*given)
    with pytest.raises(SerError, match="is not a valid name"):
        model.enroll(waves, sample_rate=RATE, name="a/b")
    with pytest.raises(SerError, match="no speaker bob"):
        model.predict(waves[0], RATE, speaker="bob")


def test_threads_may_write_one_profile(folder: Path, speakers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Recogniser(folder)
    made = model.enroll([small.sound(0.5, seed) for seed in range(4)], sample_rate=RATE).profile
    both, dump = threading.Barrier(2), Profile.model_dump_json

    def together(profile: Profile) -> str:
        both.wait(20)  # both have begun to write
        return dump(profile)

    monkeypatch.setattr(Profile, "model_dump_json", together)
    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(lambda _: store.write("ada", made), range(2)))) == 1
    assert [path.name for path in speakers.iterdir()] == ["ada.json"]
    assert store.read("ada") == made


def test_a_model_that_standardises_speakers_itself_says_so(tmp_path: Path) -> None:
    features = small.facts(b"").features.model_copy(update={"normalise": "speaker"})
    model = Recogniser(small.write(tmp_path / "own", features=features))
    with pytest.raises(SerError, match="standardises features by speaker itself"):
        model.enroll([small.sound(1, seed) for seed in range(4)], sample_rate=RATE)
    assert "choose another with --bundle" in str(ser("listen", "--stdin", "--bundle", str(tmp_path / "own")))


# the folder


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "0" * 64, "x.json"])
def test_names(folder: Path, name: str, speakers: Path) -> None:
    found = Recogniser(folder).enroll([small.sound(0.5, seed) for seed in range(4)], sample_rate=RATE, name=name).profile
    assert store.listed() == [name]
    assert store.read(name) == found
    assert store.remove(name).parent == speakers


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-x", "a b", "ä", "a\n", "a\0", "0" * 65, "a:b"])
def test_no_names(name: str, speakers: Path) -> None:
    speakers.mkdir(parents=True)
    for act in (store.read, store.remove, store.checked):
        with pytest.raises(SerError, match="is not a valid name"):
            act(name)


GOOD = {
    "version": 1, "bundle": "0" * 64, "corpus": "made", "classes": ["a", "b"], "clips": 4, "labelled": {}, "reads": "answers",
    "shift": [0.5, -0.5], "weights": [],
}  # fmt: skip


def test_a_good_one_is_read(speakers: Path) -> None:
    speakers.mkdir(parents=True)
    (speakers / "x.json").write_text(json.dumps(GOOD))
    assert store.read("x").shift == [0.5, -0.5]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "\0", "[" * 100_000, json.dumps(GOOD)[:-5],
        *(json.dumps({**GOOD, **change}) for change in (
            {"version": 2}, {"more": 1}, {"bundle": "x"}, {"classes": ["a"]}, {"shift": [0.5]}, {"shift": [0.5, "x"]},
            {"shift": [0.5, 1e300]},
            {"shift": [0.5, float("nan")]}, {"weights": [[1.0, 2.0]]}, {"weights": [[1.0, 2.0], [1.0]]}, {"weights": [[1.0], [1.0]]},
            {"reads": "audio"}, {"clips": 0}, {"labelled": {"a": -1}},
            {"sha256": "0" * 64}, {"weights": [[0.0] * 200_001] * 2, "reads": "pooled"},
        )),
    ],
)  # fmt: skip
def test_a_broken_one_is_one_message(speakers: Path, text: str) -> None:
    speakers.mkdir(parents=True)
    (speakers / "x.json").write_text(text)
    with pytest.raises(SerError, match="is not a speaker's profile") as error:
        store.read("x")
    assert len(str(error.value)) < 600
    assert ser("speakers") == 0  # a list is not stopped by one


def test_what_is_no_file_or_huge_is_not_read(speakers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speakers.mkdir(parents=True)
    os.mkfifo(speakers / "pipe.json")
    (speakers / "folder.json").mkdir()
    (speakers / "long.json").write_text(json.dumps(GOOD) + " " * 2000)
    monkeypatch.setattr(store, "MOST", 1000)
    said = {"pipe": "cannot be read: no regular file$", "folder": "cannot be read: a folder$", "long": "more than 1000 bytes"}
    for name, says in said.items():
        with pytest.raises(SerError, match=says):
            store.read(name)
    with pytest.raises(SerError, match="cannot be removed"):
        store.remove("folder")


def test_removing_a_link_leaves_what_it_points_to(speakers: Path, tmp_path: Path) -> None:
    speakers.mkdir(parents=True)
    (tmp_path / "precious.json").write_text("mine")
    (speakers / "x.json").symlink_to(tmp_path / "precious.json")
    store.remove("x")
    assert (tmp_path / "precious.json").read_text() == "mine"
    assert not list(speakers.iterdir())


def test_a_folder_that_cannot_be_written_is_one_message(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(store.FOLDER, str(tmp_path / "file"))
    with pytest.raises(SerError, match=r"cannot be written: .*SER_SPEAKERS_DIR names another folder"):
        Recogniser(folder).enroll([small.sound(0.5, seed) for seed in range(4)], sample_rate=RATE, name="x")


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(store.FOLDER)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert store.folder() == tmp_path / "ser/speakers"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.folder() == tmp_path / ".local/share/ser/speakers"
    assert store.listed() == []


def test_what_the_command_promises_is_what_was_measured() -> None:
    measured = json.loads((small.ROOT / "metrics/benchmarks/speakers.json").read_text(encoding="utf-8"))["rows"]
    gain = {row["profile"]: f"{100 * row['gain']:.1f}" for row in measured}
    assert f"{gain['unlabelled 1']} points of UA from 8 clips" in command.UNLABELLED
    assert command.UNLABELLED.endswith(f"and {gain['unlabelled 4']} from 30")
    assert f"{gain['labelled 1']} points of UA from 8 labelled clips and {gain['labelled 4']} from 30" == command.LABELLED


def test_a_profile_of_another_model_with_the_same_classes_is_refused(folder: Path) -> None:
    model, waves = Recogniser(folder), [small.sound(1, seed) for seed in range(4)]
    found = model.enroll(waves, sample_rate=RATE).profile
    model.predict(waves[0], RATE, speaker=found)
    with pytest.raises(SerError, match="made with another model"):
        model.predict(waves[0], RATE, speaker=found.model_copy(update={"bundle": "0" * 64}))


def test_one_number_changed_is_found(folder: Path, recordings: Path, speakers: Path) -> None:
    """It would change answers without a word. A profile of an earlier version has no checksum, and is read as before."""
    assert ser("enroll", "ada", str(recordings), "--bundle", str(folder)) == 0
    whole = json.loads((speakers / "ada.json").read_text())
    for changed in ({"shift": [3.0, *whole["shift"][1:]]}, {"clips": 9}, {"sha256": "0"}, {"reads": "answers", "weights": []}):
        (speakers / "ada.json").write_text(json.dumps(whole | changed))
        with pytest.raises(
            SerError, match=r"ada.json is not a speaker's profile \(sha256: it was changed after it was made\): enroll again"
        ):
            store.read("ada")
    del whole["sha256"]
    (speakers / "ada.json").write_text(json.dumps(whole))
    assert store.read("ada").classes == whole["classes"]
