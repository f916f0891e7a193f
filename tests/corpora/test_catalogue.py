"""A corpus is one module: a toy one is added at run time and goes the whole way, and every module that ships is complete."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from fixtures.archives import pack

from ser import SerError
from ser.corpora import catalogue as package
from ser.corpora.catalogue import catalogue
from ser.corpora.labels import Recording
from ser.corpora.listing import check_labels, labels, list_recordings
from ser.params import load
from ser.params.corpora import Corpus
from ser.serving.export.card import licence
from ser.splits.folds import SplitError, assign, leak_report

ROOT = Path(__file__).parents[2]

TOY = '''
"""TOY: 4 speakers, 2 emotions. Members ``<root>/toy/S1-J-1.wav``: speaker, emotion letter, take."""

import re

from ser.corpora.description import Description, PublishedFolds
from ser.corpora.labels import Recording, Reject

CLASSES = {"J": "joyful", "N": "neutral"}


def labels(member):
    match = re.fullmatch(r"(S\\d)-([A-Z])-(\\d)\\.wav", member.rsplit("/", 1)[-1])
    if match is None:
        return Reject("irregular_name", "expected speaker, letter, take")
    if match[2] not in CLASSES:
        return Reject("unknown_emotion", f"letter {match[2]}")
    return Recording(emotion=CLASSES[match[2]], speaker=match[1], gender="female", language="esperanto", repetition=match[3])


CORPUS = Description(
    names=("toy",),
    licence="the toy licence",
    classes=CLASSES,
    editions={"official": labels},
    common={"joyful": "happy"},
    folds=PublishedFolds("Toy et al. 2024", ("S1 S2", "S3 S4")),
    clip=lambda member: member[member.index("toy/") :],
)
'''
MEMBERS = [f"any root/toy/S{speaker}-{letter}-{take}.wav" for speaker in range(1, 5) for letter in "JN" for take in (1, 2)]


@pytest.fixture
def add_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules belong to the catalogue for the length of a test."""
    modules = tmp_path / "modules"
    modules.mkdir()
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(modules)])
    catalogue.cache_clear()
    yield modules
    catalogue.cache_clear()
    for path in modules.glob("*.py"):
        sys.modules.pop(f"ser.corpora.catalogue.{path.stem}", None)


@pytest.fixture
def toy(add_module: Path, tmp_path: Path) -> tuple[Corpus, Path]:
    """The toy's module, its entry in params.yaml, and a download of it."""
    (add_module / "toy.py").write_text(TOY)
    corpus = Corpus.model_validate(
        {
            "source": {"kind": "links", "archives": [{"name": "toy.zip", "url": "https://example.org/toy.zip", "checksum": None}]},
            "labels": {"classes": ["joyful", "neutral"], "edition": "official"},
        }
    )
    raw = tmp_path / "raw"
    pack(raw / "toy.zip", dict.fromkeys([*MEMBERS, "toy/S1-X-1.wav", "toy/readme.txt"], b""))
    (raw / "source.json").write_text(json.dumps({"archives": [{"name": "toy.zip"}]}))
    return corpus, raw


def table_of(corpus: Corpus, raw: Path) -> pd.DataFrame:
    found, _ = list_recordings("toy", corpus, raw)
    rows = [{**vars(one.recording), "clip": one.clip, "content": one.clip} for one in found]
    return pd.DataFrame(rows).astype("string")


def test_a_toy_corpus_is_listed_and_labelled(toy: tuple[Corpus, Path]) -> None:
    corpus, raw = toy
    found, rejects = list_recordings("toy", corpus, raw)
    assert [one.clip for one in found] == sorted(member.removeprefix("any root/") for member in MEMBERS)
    assert found[0].member == "any root/toy/S1-J-1.wav"
    assert found[0].recording == Recording("joyful", "S1", gender="female", language="esperanto", repetition="1", corpus="toy")
    assert [(one.path, one.reason) for one in rejects] == [("toy/S1-X-1.wav", "unknown_emotion"), ("toy/readme.txt", "not_audio")]
    assert labels("toy", "toy/S2-N-1.wav") == next(one.recording for one in found if one.clip == "toy/S2-N-1.wav")


def test_a_toy_corpus_is_split_by_its_published_folds(toy: tuple[Corpus, Path]) -> None:
    table, split = table_of(*toy), load(ROOT / "params.yaml").split
    found = assign(table, "toy", split)
    assert (found.protocol, found.description) == ("official", "2 published speaker-independent folds (Toy et al. 2024)")
    rows = found.assignment.merge(table, on="clip")
    tested = rows[rows["part"] == "test"]
    assert [sorted(set(one["speaker"])) for _, one in tested.groupby("fold")] == [["S1", "S2"], ["S3", "S4"]]
    assert leak_report(table, found.assignment)["speaker"] == 0
    official = split.model_copy(update={"protocol": "official"})
    with pytest.raises(SplitError, match="missing: S4; unknown: none"):
        assign(table[table["speaker"] != "S4"], "toy", official)
    with pytest.raises(SplitError, match=r"only for .*ravdess, .*toy\)"):
        assign(table, "another", official)


def test_the_licence_of_a_toy_corpus_arrives_in_the_card(toy: tuple[Corpus, Path]) -> None:
    assert licence("toy", toy[0].source) == "the toy licence"
    joint = load(ROOT / "params.yaml").corpora["joint"].source.model_copy(update={"members": ["toy", "folder"]})
    assert licence("joint", joint) == "toy: the toy licence; folder: see the corpus"


def test_a_toy_corpus_joins_others_in_the_common_vocabulary(toy: tuple[Corpus, Path], tmp_path: Path) -> None:
    corpus, raw = toy
    joint = tmp_path / "joint"
    joint.mkdir()
    raw.rename(joint / "toy")
    (joint / "source.json").write_text(json.dumps({"members": {"toy": corpus.model_dump()}}))
    given = Corpus.model_validate(
        {"source": {"kind": "joint", "members": ["toy", "other"]}, "labels": {"classes": ["happy"], "edition": "official"}}
    )
    given = given.model_copy(update={"source": given.source.model_copy(update={"members": ["toy"]})})
    found, _ = list_recordings("joint", given, joint)
    assert {(one.recording.emotion, one.recording.corpus) for one in found} == {("happy", "toy")}
    assert {one.recording.speaker for one in found} == {"toy:S1", "toy:S2", "toy:S3", "toy:S4"}


def test_a_misspelt_class_or_edition_is_known_before_the_download(toy: tuple[Corpus, Path]) -> None:
    corpus, _ = toy
    check_labels("toy", {"toy": corpus})
    for change, message in (
        ({"classes": ["joyfull"]}, r"corpora\.toy\.labels\.classes: joyfull does not occur in this corpus; it has: joyful, neutral"),
        ({"edition": "corrected"}, r"toy: labels\.edition is 'corrected'; this corpus has official"),
    ):
        wrong = corpus.model_copy(update={"labels": corpus.labels.model_copy(update=change)})
        with pytest.raises(SerError, match=message):
            check_labels("toy", {"toy": wrong})


def test_a_misspelt_class_of_a_joint_corpus_is_known_before_the_download() -> None:
    shipped = load(ROOT / "params.yaml").corpora
    check_labels("joint", shipped)
    joint = shipped["joint"]
    for misspelt in ("hapy", "joyful"):
        wrong = joint.model_copy(update={"labels": joint.labels.model_copy(update={"classes": ["sad", misspelt]})})
        with pytest.raises(SerError, match=rf"corpora\.joint\.labels\.classes: {misspelt} does not occur in this corpus"):
            check_labels("joint", {**shipped, "joint": wrong})


def test_a_module_without_a_description_says_what_it_lacks(add_module: Path) -> None:
    (add_module / "bare.py").write_text("CLASSES = {}\n")
    with pytest.raises(SerError, match=r"catalogue/bare\.py must define CORPUS"):
        catalogue()


def test_two_modules_for_one_corpus_are_refused(add_module: Path) -> None:
    (add_module / "zwilling.py").write_text(TOY.replace('("toy",)', '("emodb",)'))
    with pytest.raises(SerError, match=r"catalogue/zwilling\.py: another module already describes the corpus emodb"):
        catalogue()


def test_every_corpus_that_ships_is_described_and_its_entry_fits() -> None:
    shipped = load(ROOT / "params.yaml").corpora
    published = {name for name, corpus in shipped.items() if corpus.source.kind not in ("folder", "joint")}
    assert set(catalogue()) == published
    for name in published:
        check_labels(name, shipped)
        assert catalogue()[name].licence


def test_descriptions_cost_nothing_to_import() -> None:
    code = (
        "import sys; from ser.corpora.catalogue import catalogue; catalogue(); "
        "print(sorted({'numpy', 'pandas', 'pydantic', 'torch', 'dvc'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "[]"
