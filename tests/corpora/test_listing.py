"""What is found in archives: every file is a recording of the task or rejected for a reason."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fixtures import archives
from fixtures.archives import JUNK, pack

from ser import SerError
from ser.corpora.archives import open_archive
from ser.corpora.listing import list_recordings
from ser.params import load
from ser.params.corpora import Corpus

PARAMS = load(Path(__file__).parents[2] / "params.yaml")


def raw(folder: Path, name: str, packed: list[Path], **more: Any) -> Path:
    """A download as the stage leaves it."""
    entries = [{"name": path.relative_to(folder).as_posix()} for path in packed]
    (folder / "source.json").write_text(json.dumps({"corpus": name, "edition": "official", "archives": entries, **more}))
    return folder


def corpus(name: str, **labels: Any) -> Corpus:
    given = PARAMS.corpora[name].model_dump()
    given["labels"] |= labels
    return Corpus.model_validate(given)


def empty(names: list[str]) -> dict[str, bytes]:
    return dict.fromkeys(names, b"")


def test_asvp_esd_v2_under_any_root(tmp_path: Path) -> None:
    names = [*archives.asvp_names(range(20, 24), range(1, 14), "Audio/actor"), *archives.ASVP_DIRT, *archives.ASVP_UNCLEAR]
    listed = []
    for root in ("ASVP-ESD-Update 2/", "ASVP_UPDATE/", "", "a/b/"):
        folder = tmp_path / root.replace("/", "_")
        packed = pack(folder / "ASVP-ESD-Update.zip", empty([root + name for name in names]) | JUNK)
        found, rejects = list_recordings("asvp_esd_v2", PARAMS.corpora["asvp_esd_v2"], raw(folder, "asvp_esd_v2", [packed]))
        assert len(found) + len(rejects) == len(names) + len(JUNK)
        assert Counter(reject.reason for reject in rejects) == {"not_audio": 3, "unknown_emotion": 1}
        assert {one.recording.emotion for one in found} == set(PARAMS.corpora["asvp_esd_v2"].labels.classes)
        listed.append([(one.clip, one.recording) for one in found])
    assert all(one == listed[0] for one in listed[1:])
    assert [clip for clip, _ in listed[0]] == sorted(set(names) - set(archives.ASVP_UNCLEAR))


def test_asvp_esd_v1_keeps_the_paper_s_six(tmp_path: Path) -> None:
    names = [f"ASVP-ESD-V1/{name}" for name in archives.asvp_names(range(1, 5), range(1, 13), "acteur")]
    packed = pack(tmp_path / "any name.zip", empty(names))
    found, rejects = list_recordings("asvp_esd_v1", PARAMS.corpora["asvp_esd_v1"], raw(tmp_path, "asvp_esd_v1", [packed]))
    assert Counter(one.recording.emotion for one in found) == dict.fromkeys(PARAMS.corpora["asvp_esd_v1"].labels.classes, 4)
    assert Counter(reject.detail for reject in rejects) == dict.fromkeys(
        ("boredom", "disgust", "excited", "pleasure", "pain", "disappointment"), 4
    )
    assert {reject.reason for reject in rejects} == {"class_not_in_task"}
    assert found[0].clip == "acteur_1/03-01-03-01-03-01-02-02-01-01.wav"
    assert {one.recording.corpus for one in found} == {"asvp_esd_v1"}


@pytest.mark.parametrize("prefix", ["{}/", "", "shemo/{}/"], ids=["official", "flat", "deeper"])
def test_shemo_from_two_zips(tmp_path: Path, prefix: str) -> None:
    packed = [
        pack(tmp_path / f"{gender}.zip", empty([prefix.format(gender) + name for name in archives.shemo_names(gender[0].upper())]))
        for gender in ("male", "female")
    ]
    found, rejects = list_recordings("shemo", PARAMS.corpora["shemo"], raw(tmp_path, "shemo", packed))
    assert len(found) + len(rejects) == 50 + 49
    assert {(reject.reason, reject.detail) for reject in rejects} == {("class_not_in_task", "fearful")}
    assert len(rejects) == 16
    assert Counter(one.recording.emotion for one in found)["neutral"] == 16 + 2  # two corrected ones
    six, none = list_recordings(
        "shemo", corpus("shemo", classes=[*PARAMS.corpora["shemo"].labels.classes, "fearful"], edition="filename"), tmp_path
    )
    assert (len(six), none) == (99, [])
    assert Counter(one.recording.emotion for one in six)["neutral"] == 16


def test_kaggle_s_ravdess_holds_everything_twice(tmp_path: Path) -> None:
    names = archives.ravdess_names()
    twice = names + [f"audio_speech_actors_01-24/{name}" for name in names]
    packed = pack(tmp_path / "Audio_Speech_Actors_01-24.zip", empty(twice))
    found, rejects = list_recordings("ravdess", PARAMS.corpora["ravdess"], raw(tmp_path, "ravdess", [packed]))
    assert [one.clip for one in found] == sorted(twice)  # the first of two is in Actor_…: it is the one that is kept
    assert found[0].clip == sorted(names)[0]
    assert rejects == []


def test_emodb(tmp_path: Path) -> None:
    packed = pack(tmp_path / "emodb_2.0.zip", empty([f"wav/{name}" for name in archives.emodb_names()]) | {"README.md": b""})
    found, rejects = list_recordings("emodb", PARAMS.corpora["emodb"], raw(tmp_path, "emodb", [packed]))
    assert Counter(one.recording.emotion for one in found) == dict.fromkeys(PARAMS.corpora["emodb"].labels.classes, 10)
    assert [reject.reason for reject in rejects] == ["not_audio"]


def test_members_of_one_name_in_two_archives_stay_two(tmp_path: Path) -> None:
    name = "Actor_01/03-01-01-01-01-01-01.wav"
    packed = [pack(tmp_path / f"{part}.zip", empty([name, f"only {part}.txt"])) for part in "ab"]
    found, rejects = list_recordings("ravdess", PARAMS.corpora["ravdess"], raw(tmp_path, "ravdess", packed))
    assert [one.clip for one in found] == [f"a.zip/{name}", f"b.zip/{name}"]
    assert [one.archive.name for one in found] == ["a.zip", "b.zip"]
    assert {one.member for one in found} == {name}
    assert [reject.path for reject in rejects] == ["only a.txt", "only b.txt"]


def test_a_tar_is_an_archive_too_and_its_dangers_are_rejects(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("Actor_01/03-01-01-01-01-01-01.wav"))
        tar.addfile(tarfile.TarInfo("../03-01-03-01-01-01-01.wav"))
        link = tarfile.TarInfo("Actor_01/03-01-04-01-01-01-01.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found, rejects = list_recordings("ravdess", PARAMS.corpora["ravdess"], raw(tmp_path, "ravdess", [tmp_path / "a.tar.gz"]))
    assert len(found) == 1
    assert [(reject.path, reject.reason) for reject in rejects] == [
        ("../03-01-03-01-01-01-01.wav", "unsafe_path"),
        ("Actor_01/03-01-04-01-01-01-01.wav", "link"),
    ]


def test_a_joint_corpus_in_common_words(tmp_path: Path) -> None:
    actors = [f"Actor_{actor:02}/03-01-{emotion:02}-01-01-01-{actor:02}.wav" for actor in (1, 2) for emotion in range(1, 9)]
    people = [f"label/{label}/{who}/{take}.wav" for label in ("Joy", "anger", "pride") for who in ("ada", "ben") for take in "12"]
    packed = [pack(tmp_path / "ravdess/r.zip", empty(actors)), pack(tmp_path / "folder/f.zip", empty(people))]
    for path in packed:
        raw(path.parent, path.parent.name, [path])
    members = {name: PARAMS.corpora[name].model_dump() for name in ("ravdess", "folder")}
    given = Corpus.model_validate(
        {"source": {"kind": "joint", "members": ["ravdess", "folder"]}, "labels": {"classes": [], "edition": "official"}}
    )
    found, rejects = list_recordings("joint", given, raw(tmp_path, "joint", packed, members=members))
    assert rejects == []
    assert Counter(one.recording.emotion for one in found) == {
        "neutral": 4, "happy": 6, "angry": 6, "pride": 4, "sad": 2, "fearful": 2, "disgust": 2, "surprised": 2,
    }  # fmt: skip
    assert {one.recording.speaker for one in found} == {"ravdess:01", "ravdess:02", "folder:ada", "folder:ben"}
    assert {one.recording.corpus for one in found} == {"ravdess", "folder"}
    assert [one.clip for one in found] == sorted(one.clip for one in found)
    assert found[0].clip == "folder/label/Joy/ada/1.wav"
    for one in found:
        with open_archive(one.archive) as archive:
            assert archive.read(one.member) == b""

    (tmp_path / "folder/source.json").rename(tmp_path / "away.json")
    with pytest.raises(SerError, match=r"folder/source\.json not found: run `?dvc repro download@joint`? first"):
        list_recordings("joint", given, tmp_path)
    (tmp_path / "away.json").rename(tmp_path / "folder/source.json")

    three = given.model_copy(update={"labels": given.labels.model_copy(update={"classes": ["happy", "angry"]})})
    found, rejects = list_recordings("joint", three, tmp_path)
    assert len(found) == 12
    assert {(reject.reason, reject.path.split("/")[0]) for reject in rejects} == {
        ("class_not_in_task", "folder"),
        ("class_not_in_task", "ravdess"),
    }


def test_a_corpus_of_another_name_is_read_by_its_folders_or_its_table(tmp_path: Path) -> None:
    given = Corpus.model_validate(
        {
            "source": {
                "kind": "links",
                "archives": [{"name": "x.zip", "url": "https://example.org/x.zip", "checksum": None}],
                "kaggle": None,
            },
            "labels": {"classes": [], "edition": "official"},
        }
    )
    pack(tmp_path / "x.zip", empty(["mine/happy/ada/1.wav", "mine/sad/ben/2.wav", "mine/readme.txt"]))
    found, rejects = list_recordings("mine", given, raw(tmp_path, "mine", [tmp_path / "x.zip"]))
    assert [(one.clip, one.recording.emotion, one.recording.speaker) for one in found] == [
        ("mine/happy/ada/1.wav", "happy", "ada"),
        ("mine/sad/ben/2.wav", "sad", "ben"),
    ]
    assert [reject.reason for reject in rejects] == ["not_audio"]

    table = b"path;label;speaker;gender\na.wav;happy;ada;f\nb.wav;sad;ben;M\n"
    pack(tmp_path / "x.zip", empty(["mine/a.wav", "mine/b.wav", "mine/c.wav"]) | {"mine/labels.csv": table})
    found, rejects = list_recordings("mine", given, tmp_path)
    assert [(one.clip, one.recording.emotion, one.recording.gender) for one in found] == [
        ("mine/a.wav", "happy", "female"),
        ("mine/b.wav", "sad", "male"),
    ]
    assert [(reject.path, reject.reason) for reject in rejects] == [("mine/c.wav", "not_in_table")]


def test_a_class_that_a_corpus_does_not_have(tmp_path: Path) -> None:
    packed = pack(tmp_path / "a.zip", empty(archives.ravdess_names()))
    with pytest.raises(SerError, match=r"corpora\.ravdess\.labels\.classes: anger does not occur .* it has: neutral, calm, happy"):
        list_recordings("ravdess", corpus("ravdess", classes=["neutral", "anger"]), raw(tmp_path, "ravdess", [packed]))


def test_the_wrong_archive_says_what_it_holds(tmp_path: Path) -> None:
    packed = pack(tmp_path / "a.zip", empty(["a.wav", "b.wav", "c.txt"]))
    with pytest.raises(SerError, match=r"ravdess: no recording of the task .*\(irregular_name 2, not_audio 1\); is it the right archive"):
        list_recordings("ravdess", PARAMS.corpora["ravdess"], raw(tmp_path, "ravdess", [packed]))
    packed = pack(tmp_path / "a.zip", {})
    with pytest.raises(SerError, match="the archives are empty"):
        list_recordings("ravdess", PARAMS.corpora["ravdess"], tmp_path)


def test_before_the_download_there_is_nothing_to_list(tmp_path: Path) -> None:
    with pytest.raises(SerError, match=r"source\.json not found: run `dvc repro download@ravdess` first"):
        list_recordings("ravdess", PARAMS.corpora["ravdess"], tmp_path)


def test_damage_in_the_middle_of_a_zip_is_found_when_it_is_read(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"Actor_01/03-01-01-01-01-01-01.wav": bytes(range(256)) * 9})
    data = bytearray(path.read_bytes())
    data[80] ^= 255
    path.write_bytes(data)
    found, _ = list_recordings("ravdess", PARAMS.corpora["ravdess"], raw(tmp_path, "ravdess", [path]))
    assert len(found) == 1
    assert zipfile.ZipFile(path).testzip() is not None
