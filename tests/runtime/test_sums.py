"""Checksums of what a stage leaves for others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ser.runtime import sums
from ser.runtime.reading import DamagedError

RECORD = Path("sums/made/stage.json")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out/inner").mkdir(parents=True)
    Path("out/a.csv").write_text("a\n")
    Path("out/inner/empty").touch()
    Path("one.json").write_text("{}")


def left() -> None:
    sums.leave(RECORD, sums.of([Path("out"), Path("one.json"), Path("never made")]))


def checked(restored: bool = False) -> bool | None:
    return sums.check(RECORD, "stage", "made", lambda paths: paths if restored else [])


def test_every_file_of_every_place_is_recorded_and_the_same_files_give_the_same_record():
    left()
    before = RECORD.read_bytes()
    assert list(json.loads(before)) == ["out/a.csv", "out/inner/empty", "one.json"]
    left()
    assert RECORD.read_bytes() == before
    assert checked()


@pytest.mark.parametrize("name", ["out/a.csv", "out/inner/empty", "one.json"])
@pytest.mark.parametrize("content", [b"", b"b\n", b"a\nb\n"])
def test_a_file_with_other_bytes_is_named_with_the_command_to_run(name, content):
    left()
    changed = Path(name).read_bytes() != content
    Path(name).write_bytes(content)
    if not changed:
        checked()
        return
    with pytest.raises(DamagedError, match=f"{name} is damaged or of another run: .*; run `dvc repro stage@made`"):
        checked()
    assert not checked(restored=True)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_damage_and_is_not_opened(kind):
    left()
    Path("one.json").unlink()
    {
        "pipe": lambda: os.mkfifo("one.json"),
        "folder": lambda: Path("one.json").mkdir(),
        "device": lambda: Path("one.json").symlink_to("/dev/zero"),
    }[kind]()
    with pytest.raises(DamagedError, match=r"one\.json.* no file"):
        checked(restored=True)  # nobody could have checked it


def test_what_is_missing_is_left_to_whoever_needs_it():
    assert not checked()
    left()
    Path("one.json").unlink()
    assert not checked()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"out/a.csv": ', "[" * 100_000, '{"": [1, 2]}', None])
def test_a_damaged_record_says_nothing(text):
    left()
    if text is None:
        RECORD.unlink()
        os.mkfifo(RECORD)
    else:
        RECORD.write_text(text)
    Path("one.json").write_text("other")
    assert not checked()
