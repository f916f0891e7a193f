"""Own recordings that change after they were packed: this is noticed, and the printed remedy works."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ruamel.yaml import YAML

from ser.corpora import checksums
from ser.params import Params, load, parse
from stages import download, recordings
from tests.pipeline import ROOT, Project

SPEAKERS = ("ada", "ben")


def record(root: Path, take: int) -> None:
    for label in ("calm", "tense"):
        for speaker in SPEAKERS:
            file = root / label / speaker / f"{take}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng([take, len(label), len(speaker), ord(speaker[0])]).normal(0, 0.1, 16000)
            soundfile.write(file, noise, 16000)


def values() -> dict:
    given = load(ROOT / "params.yaml").model_dump()
    return given | {"datasets": ["folder"]}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Four packed recordings in the working directory's `recordings`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SER_CACHE_DIR", str(tmp_path / "cache"))
    record(tmp_path / "recordings", 0)
    made = parse(values())
    download.main(made, argparse.Namespace(dataset="folder", changed=False))
    return made


def packed() -> list[str]:
    with zipfile.ZipFile("data/raw/folder/recordings.zip") as archive:
        return archive.namelist()


def test_an_unchanged_folder_is_not_packed_again(params, capsys):
    capsys.readouterr()
    assert recordings.stale("folder", params) is None
    download.main(params, argparse.Namespace(dataset=None, changed=True))
    assert capsys.readouterr().out == ""


def test_added_recordings_are_noticed_and_packed(params, capsys):
    record(Path("recordings"), 1)
    assert recordings.stale("folder", params) == "4 recordings added"
    download.main(params, argparse.Namespace(dataset=None, changed=True))
    assert "folder: 4 recordings added since the recordings were packed" in capsys.readouterr().out
    assert len(packed()) == 1 + 8
    assert recordings.stale("folder", params) is None


def test_removed_and_rewritten_recordings_are_noticed(params):
    record(Path("recordings"), 1)
    download.main(params, argparse.Namespace(dataset=None, changed=True))
    Path("recordings/calm/ada/0.wav").unlink()
    file = Path("recordings/calm/ben/0.wav")  # as long as before, with another content
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    later = Path("data/raw/folder/recordings.zip").stat().st_mtime + 10
    os.utime(file, (later, later))
    assert recordings.stale("folder", params) == "1 recording removed, 1 changed"
    touched = Path("recordings/tense/ada/0.wav")
    os.utime(touched, (later, later))  # a new time alone is not a change
    assert recordings.stale("folder", params) == "1 recording removed, 1 changed"


@pytest.mark.parametrize("remembered", [True, False])
def test_recordings_that_were_exchanged_are_noticed(params, monkeypatch, remembered):
    """They keep their sizes and times."""
    monkeypatch.setattr(checksums, "SETTLED", 0 if remembered else checksums.SETTLED)
    one, other, aside = Path("recordings/calm/ada/0.wav"), Path("recordings/tense/ada/0.wav"), Path("aside")
    for file in (one, other):
        os.utime(file, (5, 5))
    assert recordings.stale("folder", params) is None
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    assert recordings.stale("folder", params) == "2 recordings changed"


@pytest.mark.parametrize("remembered", [True, False])
def test_another_recording_with_an_older_time_is_noticed(params, monkeypatch, remembered):
    """As a restored backup has, or a file of a machine whose clock is slow."""
    monkeypatch.setattr(checksums, "SETTLED", 0 if remembered else checksums.SETTLED)
    assert recordings.stale("folder", params) is None
    file = Path("recordings/calm/ben/0.wav")
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    os.utime(file, (1, 1))
    assert recordings.stale("folder", params) == "1 recording changed"


def test_a_change_before_the_archive_was_brought_back_is_noticed(params):
    file = Path("recordings/calm/ben/0.wav")
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    later = file.stat().st_mtime + 10
    os.utime("data/raw/folder/recordings.zip", (later, later))  # as `dvc checkout` leaves it
    assert recordings.stale("folder", params) == "1 recording changed"


def test_what_has_not_changed_is_not_read_again(params, monkeypatch):
    monkeypatch.setattr(checksums, "SETTLED", 0)
    assert recordings.stale("folder", params) is None
    read: list[Path] = []
    monkeypatch.setattr(checksums, "_crc32", lambda file: read.append(file) or 0)
    assert recordings.stale("folder", params) is None
    assert read == []
    Path("recordings/calm/ada/0.wav").touch()
    assert recordings.stale("folder", params) == "1 recording changed"  # with the 0 from above
    assert [path.as_posix()[-14:] for path in read] == ["calm/ada/0.wav"]


@pytest.mark.parametrize("content", [b"", b"[", b"[]", b'{"calm/ada/0.wav": 5}', b'{"calm/ada/0.wav": ["a", 1, 2, 3, 4]}', b"\xff"])
def test_a_damaged_list_of_checksums_costs_time_only(params, content):
    Path("data/sums/folder").mkdir(parents=True, exist_ok=True)
    Path("data/sums/folder/recordings.json").write_bytes(content)
    assert recordings.stale("folder", params) is None


def test_a_corrected_table_is_noticed(params):
    rows = "".join(f"{label}/{speaker}/0.wav,{label},{speaker}\n" for label in ("calm", "tense") for speaker in SPEAKERS)
    Path("recordings/table.csv").write_text("path,label,speaker\n" + rows)
    given = values()
    given["corpora"]["folder"]["source"]["table"] = "table.csv"
    made = parse(given)
    assert recordings.stale("folder", made) is None
    Path("recordings/table.csv").write_text("path,label,speaker\n" + rows.replace(",calm,ada", ",tense,ada"))
    assert recordings.stale("folder", made) == "other labels or speakers"


def test_a_machine_without_the_folder_uses_the_archive(params):
    shutil.rmtree("recordings")
    assert recordings.stale("folder", params) is None


def test_members_of_a_joint_corpus_are_watched_too(params):
    given = values()
    given["corpora"]["joint"]["source"]["members"] = ["demo", "folder"]
    given["corpora"]["demo"]["source"] |= {"speakers": 2, "sentences": 1}
    made = parse(given)
    download.main(made, argparse.Namespace(dataset="joint", changed=False))
    assert recordings.stale("joint", made) is None
    record(Path("recordings"), 1)
    assert recordings.stale("joint", made) == "folder: 4 recordings added"


def test_a_copy_for_an_experiment_packs_the_repository_s_folder(params, tmp_path, monkeypatch):
    """`dvc exp run --temp` and `--queue` work below .dvc/tmp/exps, where nothing is that git ignores."""
    copy = tmp_path / ".dvc/tmp/exps/standalone/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    download.main(params, argparse.Namespace(dataset="folder", changed=False))
    assert len(packed()) == 1 + 4
    assert str(tmp_path) not in Path("data/raw/folder/source.json").read_text()


def test_the_remedy_makes_dvc_run_on_the_new_recordings(tmp_path):
    project = Project(tmp_path / "project")
    record(project.folder / "recordings", 0)
    project.set({"datasets": ["folder"]})
    project.run("dvc", "repro", "preprocess@folder")
    record(project.folder / "recordings", 1)
    warned = project.run("python", "-m", "stages.preprocess", "--dataset", "folder").stderr
    assert "folder: 4 recordings added since the recordings were packed" in warned
    remedy = warned.split("`")[1]
    assert remedy == "python -m stages.download --dataset folder"
    project.run(*remedy.split())
    project.run("dvc", "repro", "preprocess@folder")
    assert len((project.folder / "data/clips/folder/clips.csv").read_text().splitlines()) == 1 + 8
    lock = YAML(typ="safe", pure=True).load(project.folder / "dvc.lock")
    assert str(tmp_path) not in str(lock)


def test_make_repro_packs_before_dvc_looks(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("python", "dvc"):
        (tmp_path / ".venv/bin" / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv/.installed").touch()
    done = subprocess.run(["make", "-s", "repro"], cwd=tmp_path, env={**os.environ, "MAKEFLAGS": ""}, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines.index("python -m stages.download --changed") < lines.index("dvc repro") < lines.index("python -m stages.report --scores")
