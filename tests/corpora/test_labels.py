"""Every name of the public lists, where the lists are at hand; the rules themselves on names written here."""

from __future__ import annotations

import csv
import gzip
import os
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from fixtures.archives import ASVP_DIRT, ASVP_UNCLEAR
from hypothesis import example, given
from hypothesis import strategies as st

from ser import SerError
from ser.corpora.catalogue import asvp_esd, catalogue, shemo
from ser.corpora.joint import WORDS
from ser.corpora.labels import AUDIO, Recording, Reject, not_audio
from ser.corpora.listing import labels

LISTS = Path(os.environ.get("SER_MIRROR") or Path(__file__).parents[3] / "shared/data")


def names(file: str, column: str = "path") -> list[str]:
    if not (LISTS / file).is_file():
        pytest.skip(f"{file} is not in {LISTS} (SER_MIRROR)")
    with gzip.open(LISTS / file, "rt", encoding="utf-8") as table:
        return [row[column] for row in csv.DictReader(table, delimiter="\t")]


def told(corpus: str, members: list[str], edition: str = "official") -> tuple[list[Recording], list[Reject]]:
    outcome = [labels(corpus, member, edition) for member in members]
    return [one for one in outcome if isinstance(one, Recording)], [one for one in outcome if isinstance(one, Reject)]


def test_all_of_ravdess() -> None:
    path = LISTS / "ravdess/Audio_Speech_Actors_01-24.zip"
    if not path.is_file():
        pytest.skip(f"{path} is not there (SER_MIRROR)")
    with zipfile.ZipFile(path) as packed:
        found, rejects = told("ravdess", packed.namelist())
    assert rejects == []
    assert len(found) == 1440
    counts = Counter(one.emotion for one in found)
    assert counts.pop("neutral") == 96
    assert counts == dict.fromkeys(("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"), 192)
    assert Counter(one.speaker for one in found) == {f"{actor:02}": 60 for actor in range(1, 25)}
    assert {one.gender for one in found if int(one.speaker) % 2} == {"male"}
    assert Counter(one.gender for one in found) == {"male": 720, "female": 720}
    assert Counter(one.statement for one in found) == {"01": 720, "02": 720}
    assert {one.intensity for one in found if one.emotion == "neutral"} == {"normal"}
    assert len(set(found)) == 1440


def test_all_of_asvp_esd_v2() -> None:
    members = names("asvp_esd_v2_files.tsv.gz")
    found, rejects = told("asvp_esd_v2", [f"ASVP_UPDATE/{member}" for member in members])
    assert len(members) == 13964
    assert rejects == [Reject("unknown_emotion", "code 17")]
    by_code = {1: 548, 2: 1598, 3: 1868, 4: 2694, 5: 1453, 6: 1180, 7: 899, 8: 1586, 9: 401, 10: 365, 11: 834, 12: 365, 13: 172}
    assert Counter(one.emotion for one in found) == {asvp_esd.CLASSES[f"{code:02}"]: count for code, count in by_code.items()}
    assert Counter(one.channel for one in found) == {"nonspeech": 8824, "speech": 5140 - 1}  # code 17 is speech
    fields = [[field.strip() for field in Path(member).stem.split("-")] for member in members if member not in ASVP_UNCLEAR]
    marks = [parts[-1] if len(parts) > 9 else "" for parts in fields]
    assert (marks.count("66"), marks.count("77")) == (354, 263)
    nameless = [mark == "66" or parts[6] == "04" for mark, parts in zip(marks, fields, strict=True)]
    assert [one.gender == "" for one in found] == nameless
    assert not any(one.repetition.endswith(("66", "77")) for one in found)
    assert len({one.speaker for one in found}) == 131
    assert sum(one.language == "" for one in found) == 99
    assert sum(one.intensity == "" for one in found) == 12
    folders = [Path(member).parent.name.removeprefix("actor_") for member in members if member not in ASVP_UNCLEAR]
    assert sum(folder != "" and int(folder) != int(one.speaker) for folder, one in zip(folders, found, strict=True)) == 16
    assert folders.count("") == 171
    assert len({asvp_esd.short(f"any root/{member}") for member in members}) == 13964
    assert {asvp_esd.short(f"ASVP-ESD-Update 2/{member}") for member in members} == set(members)


def test_the_irregular_names_of_asvp_esd_v2_are_as_many_as_known() -> None:
    fields = [Path(member).stem.split("-") for member in names("asvp_esd_v2_files.tsv.gz")]
    irregular = [one for one in fields if one[3] not in ("01", "02") or len(one[6]) != 2 or len(one) < 9]
    assert len(irregular) == 122


def test_the_dirt_in_the_fixtures_is_from_the_list() -> None:
    assert set(ASVP_DIRT + ASVP_UNCLEAR) <= set(names("asvp_esd_v2_files.tsv.gz"))


@pytest.mark.parametrize(
    ("edition", "counts"),
    [
        ("filename", {"angry": 1059, "neutral": 1028, "sad": 449, "happy": 201, "surprised": 225, "fearful": 38}),
        ("corrected", {"angry": 1042, "neutral": 1160, "sad": 361, "happy": 203, "surprised": 202, "fearful": 32}),
    ],
)
def test_all_of_shemo(edition: str, counts: dict[str, int]) -> None:
    found, rejects = told("shemo", names("shemo_files.tsv.gz"), edition)
    assert rejects == []
    assert Counter(one.emotion for one in found) == counts
    speakers = {(one.speaker, one.gender) for one in found}
    assert Counter(gender for _, gender in speakers) == {"female": 31, "male": 56}
    column = "emotion_in_name" if edition == "filename" else "emotion_corrected"
    plain = {"anger": "angry", "fear": "fearful", "happiness": "happy", "sadness": "sad", "surprise": "surprised", "neutral": "neutral"}
    assert [one.emotion for one in found] == [plain[word] for word in names("shemo_files.tsv.gz", column)]


def test_the_corrections_travel_with_the_project() -> None:
    table = shemo.corrections()
    assert len(table) == 163
    assert all(re.fullmatch(r"[FM]\d{2}[AFHNSW]\d{2}", name) for name in table)
    assert all(shemo.CLASSES[name[3]] != emotion for name, emotion in table.items())
    assert list(table) == sorted(table)


FIELDS = ["emotion", "speaker", "gender", "language", "channel", "intensity", "statement", "repetition"]


@pytest.mark.parametrize(
    ("corpus", "edition", "member", "values"),
    [
        ("ravdess", "official", "Actor_12/03-01-05-02-01-01-12.wav", "angry 12 female english speech strong 01 01"),
        ("ravdess", "official", "x/Actor_07/03-01-02-01-02-02-07.wav", "calm 07 male english speech normal 02 02"),
        ("demo", "official", "Speaker_02/03-01-08-02-04-01-02.flac", "surprised 02 female english speech strong 04 01"),
        ("asvp_esd_v2", "official", ASVP_DIRT[0], "breath 116 male 02 nonspeech normal 01 13"),
        ("asvp_esd_v2", "official", ASVP_DIRT[1], "disgust 109 female 17 nonspeech normal 18 "),
        ("asvp_esd_v2", "official", ASVP_DIRT[2], "boredom 106 male 17 nonspeech  01 "),
        ("asvp_esd_v2", "official", ASVP_DIRT[5], "angry 101 female  speech normal 32 "),
        ("asvp_esd_v2", "official", ASVP_DIRT[7], "sad 150  00 nonspeech normal 52 14-01"),
        ("asvp_esd_v2", "official", ASVP_DIRT[8], "boredom 109  02 nonspeech normal 08 17"),
        ("asvp_esd_v2", "official", ASVP_DIRT[9], "neutral 31 female 01 speech normal 13 "),
        ("asvp_esd_v1", "official", "ASVP-ESD-V1/acteur_7/03-01-06-02-03-7-02-01-01.wav", "fearful 07 female 01 speech high 03 "),
        ("shemo", "corrected", "female/F01S23.wav", "neutral F01 female persian speech   "),
        ("shemo", "filename", "female/F01S23.wav", "sad F01 female persian speech   "),
        ("shemo", "corrected", "M56W01.WAV", "surprised M56 male persian speech   "),
        ("emodb", "official", "wav/03a01Fa.wav", "happy 03 male german speech  a01 a"),
        ("emodb", "official", "emodb/wav/16b10Wb.wav", "angry 16 female german speech  b10 b"),
    ],
)
def test_what_a_name_says(corpus: str, edition: str, member: str, values: str) -> None:
    found = labels(corpus, member, edition)
    assert isinstance(found, Recording)
    assert [getattr(found, field) for field in FIELDS] == values.split(" ")
    assert found.corpus == corpus


@pytest.mark.parametrize(
    ("corpus", "member", "reason"),
    [
        ("ravdess", "Actor_01/03-02-05-02-01-01-01.wav", "not_speech"),
        ("ravdess", "Actor_01/01-01-05-02-01-01-01.wav", "irregular_name"),
        ("ravdess", "Actor_01/03-01-09-02-01-01-01.wav", "unknown_emotion"),
        ("ravdess", "Actor_01/03-01-05-03-01-01-01.wav", "irregular_name"),
        ("ravdess", "Actor_01/03-01-05-02-01-01.wav", "irregular_name"),
        ("ravdess", "Actor_01/03-01-05-02-01-01-٠١.wav", "irregular_name"),
        ("ravdess", "Actor_01/03-01-05-02-01-01-01.mp4", "not_audio"),
        ("ravdess", "__MACOSX/Actor_01/._03-01-05-02-01-01-01.wav", "not_audio"),
        ("ravdess", "__MACOSX/Actor_01/03-01-05-02-01-01-01.wav", "not_audio"),
        ("demo", "Speaker_01/03-01-02-01-01-01-01.flac", "unknown_emotion"),
        ("asvp_esd_v2", ASVP_UNCLEAR[0], "unknown_emotion"),
        ("asvp_esd_v2", "Audio/actor_1/03-01-02-01-18-xx-02-02.wav", "irregular_name"),
        ("asvp_esd_v2", "Audio/actor_1/03-03-02-01-18-01-02-02.wav", "irregular_name"),
        ("asvp_esd_v2", "Audio/actor_1/03-01-02-01-18-01.wav", "irregular_name"),
        ("asvp_esd_v2", "Audio/actor_1/.DS_Store", "not_audio"),
        ("shemo", "female/F01X01.wav", "unknown_emotion"),
        ("shemo", "female/F1A01.wav", "irregular_name"),
        ("emodb", "wav/03a01Xa.wav", "unknown_emotion"),
        ("emodb", "wav/17a01Fa.wav", "irregular_name"),
        ("emodb", "README.md", "not_audio"),
    ],
)
def test_what_no_name_says(corpus: str, member: str, reason: str) -> None:
    found = labels(corpus, member, "corrected" if corpus == "shemo" else "official")
    assert isinstance(found, Reject)
    assert found.reason == reason
    assert found.detail


ANY_NAME = st.one_of(
    st.text(),
    st.from_regex(r"\A(Audio/)?[0-9FMa]{1,3}(-[0-9]{0,3}){0,11}(\.wav)?\Z"),
    st.from_regex(r"\A[0-9FM]{1,3}[ab]?[A-Z]\d\d\.wav\Z"),
)


@given(st.sampled_from(sorted(catalogue())), ANY_NAME)
@example("asvp_esd_v2", "03-01-01-01-01-²-01-01.wav")
@example("asvp_esd_v2", "03-01-01-01-01-99999999999-01-01.wav")
def test_no_name_crashes_a_parser(corpus: str, member: str) -> None:
    found = labels(corpus, member, next(iter(catalogue()[corpus].editions)))
    if isinstance(found, Reject):
        assert found.reason in {"not_audio", "irregular_name", "unknown_emotion", "not_speech"}
        assert found.detail
    else:
        assert found.emotion in catalogue()[corpus].classes.values()
        assert found.speaker
        assert found.gender in {"female", "male", ""}


@given(st.text())
def test_anything_with_another_suffix_is_no_audio(name: str) -> None:
    assert (not_audio(name) is None) <= name.lower().endswith(AUDIO)


@pytest.mark.parametrize(
    ("corpus", "edition"), [("shemo", "official"), ("ravdess", "corrected"), ("demo", "filename")], ids=lambda value: str(value)
)
def test_an_edition_that_a_corpus_does_not_have(corpus: str, edition: str) -> None:
    with pytest.raises(SerError, match=f"labels.edition is '{edition}'; this corpus has"):
        labels(corpus, "a.wav", edition)


def test_a_corpus_without_rules() -> None:
    with pytest.raises(SerError, match=f"folder: names of this corpus hold no labels; known: {', '.join(sorted(catalogue()))}"):
        labels("folder", "a.wav")


@pytest.mark.parametrize("corpus", sorted(catalogue()))
def test_every_class_has_a_common_name(corpus: str) -> None:
    described = catalogue()[corpus]
    classes = list(described.classes.values())
    assert len(set(classes)) == len(classes)
    assert set(described.common) <= set(classes)
    assert all(described.common.values())


def test_corpora_meet_in_the_common_vocabulary() -> None:
    words = {name: {one.common.get(emotion, emotion) for emotion in one.classes.values()} for name, one in catalogue().items()}
    shared = set.intersection(*(words[name] for name in ("ravdess", "asvp_esd_v2", "shemo", "emodb", "demo")))
    assert shared == {"neutral", "happy", "sad", "angry", "fearful"}
    assert catalogue()["ravdess"].common["calm"] == "neutral"
    assert set(WORDS.values()) <= set().union(*words.values())
