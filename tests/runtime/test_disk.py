"""Files and folders appear whole or not at all, and a lock belongs to one process."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ser import SerError
from ser.runtime.disk import file_written_whole, written_whole
from ser.runtime.locks import alone, lock_if_free


def test_a_file_takes_its_place_at_the_end_of_the_block(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with file_written_whole(target) as part:
        part.write_text("new")
        assert target.read_text() == "old"
        assert part.parent == tmp_path
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"table.csv": "new"}


@pytest.mark.parametrize("shared", [False, True])
def test_after_an_error_the_old_file_stays_and_nothing_else(tmp_path, shared):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), file_written_whole(target, shared=shared) as part:
        part.write_text(str(1 / (part.write_text("half") - 4)))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"table.csv": "old"}


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), file_written_whole(tmp_path / "table.csv"):
        pass
    assert not list(tmp_path.iterdir())


def test_processes_that_share_a_file_write_to_paths_of_their_own(tmp_path):
    code = (
        "import sys; from pathlib import Path; from ser.runtime.disk import file_written_whole\n"
        "with file_written_whole(Path(sys.argv[1]), shared=True) as part: part.write_text(part.name); print(part.name)"
    )
    target = tmp_path / "weights"
    with file_written_whole(target, shared=True) as part:
        part.write_text("mine")
        other = subprocess.run([sys.executable, "-c", code, str(target)], check=True, capture_output=True, text=True).stdout.strip()
        assert other != part.name
        assert target.read_text() == other
    assert target.read_text() == "mine"


def test_a_folder_replaces_the_old_one_and_only_at_the_end(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "old").touch()
    with written_whole(folder) as partial:
        (partial / "new").touch()
        assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in folder.iterdir()] == ["new"]
    with pytest.raises(IsADirectoryError), written_whole(folder) as partial:
        partial.write_text("a folder is not a file")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["clips", "clips/new"]


both = pytest.mark.parametrize(("kind", "writing"), [("file", file_written_whole), ("folder", written_whole)])
WRITING = """
import sys
from pathlib import Path
from ser import SerError
from ser.runtime.disk import file_written_whole, written_whole
kind, target = sys.argv[1], Path(sys.argv[2])
try:
    with (written_whole if kind == "folder" else file_written_whole)(target) as part:
        (part / "new" if kind == "folder" else part).write_text("theirs")
    print("written")
except SerError as error:
    print(error)
"""


def written_elsewhere(kind: str, target: Path) -> str:
    """What another process says that writes the file or folder."""
    return subprocess.run([sys.executable, "-c", WRITING, kind, str(target)], check=True, capture_output=True, text=True).stdout.strip()


def found(target: Path) -> str:
    return (target / "new" if target.is_dir() else target).read_text()


@both
def test_two_processes_do_not_write_the_same(tmp_path: Path, kind: str, writing: Callable[[Path], AbstractContextManager[Path]]) -> None:
    """The second would empty what the first has written, and the first would give the second's half the final name."""
    target = tmp_path / "out"
    with writing(target) as part:
        mine = part / "new" if kind == "folder" else part
        mine.write_text("mi")
        assert written_elsewhere(kind, target) == f"{target} is being written by another process: wait for it or end it, and run this again"
        mine.write_text("mine")
    assert found(target) == "mine"
    assert written_elsewhere(kind, target) == "written"
    assert found(target) == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@both
def test_what_a_killed_process_left_is_in_nobodys_way(
    tmp_path: Path, kind: str, writing: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    target, killed = tmp_path / "out", WRITING.replace('.write_text("theirs")', '.write_text("half"); import os; os.kill(os.getpid(), 9)')
    assert subprocess.run([sys.executable, "-c", killed, kind, str(target)]).returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    with writing(target) as part:
        assert not list(part.iterdir()) if kind == "folder" else part.read_bytes() == b""
        (part / "new" if kind == "folder" else part).write_text("mine")
    assert found(target) == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@both
def test_a_part_that_was_taken_away_before_it_was_claimed_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, writing: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    """Another process may give it its final name between the two steps; the claim would then be on that."""
    target, lock = tmp_path / "out", fcntl.flock

    def late(claim: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        assert written_elsewhere(kind, target) == "written"
        lock(claim, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with writing(target) as part:
        assert part.exists()
        (part / "new" if kind == "folder" else part).write_text("mine")
    assert found(target) == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@both
def test_a_link_in_the_place_of_the_part_is_not_followed(
    tmp_path: Path, kind: str, writing: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("kept")
    (tmp_path / (".out.partial" if kind == "folder" else "out.part")).symlink_to(elsewhere if kind == "folder" else elsewhere / "precious")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"), writing(tmp_path / "out"):
        pass
    assert (elsewhere / "precious").read_text() == "kept"


def test_a_pipe_in_the_place_of_the_part_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.part")
    with (
        pytest.raises(SerError, match=r"out\.part is no file, and .*out cannot be written: remove it"),
        file_written_whole(tmp_path / "out"),
    ):
        pass


def held_elsewhere(path: Path) -> bool:
    """Whether a process of its own finds the lock of ``path`` taken."""
    code = (
        "import sys; from pathlib import Path; from ser.runtime.locks import lock_if_free; print(lock_if_free(Path(sys.argv[1])) is None)"
    )
    return subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True).stdout.strip() == "True"


def test_a_lock_is_held_until_it_is_given_back(tmp_path):
    with alone(tmp_path / "study"):
        assert lock_if_free(tmp_path / "study") is None
        assert held_elsewhere(tmp_path / "study")
    lock = lock_if_free(tmp_path / "study")
    assert lock is not None
    assert held_elsewhere(tmp_path / "study")
    lock.close()
    assert not held_elsewhere(tmp_path / "study")


@pytest.mark.parametrize("writing", [file_written_whole, written_whole])
def test_a_full_disk_has_a_place_and_other_errors_keep_their_words(
    tmp_path: Path, writing: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    """The system does not say which file it was when a write fails."""
    with pytest.raises(OSError, match="No space") as told, writing(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.filename == str(tmp_path / "out")
    with pytest.raises(TimeoutError) as other, writing(tmp_path / "out"):
        raise TimeoutError(errno.ETIMEDOUT, "timed out")
    assert other.value.filename is None
    assert list(tmp_path.iterdir()) == []


def test_an_old_folder_that_cannot_be_removed_is_named(tmp_path, monkeypatch):
    """It belongs to another user, say. Renaming over it would only say that it is not empty."""
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "old").touch()

    def refused(path, *words, **more):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "unlink", refused)
    with pytest.raises(PermissionError) as error, written_whole(folder):
        pass
    assert error.value.filename == str(folder)
    assert (folder / "old").exists()


def test_what_is_no_folder_stays_and_is_named(tmp_path):
    target = tmp_path / "clips"
    target.write_text("mine")
    with pytest.raises(NotADirectoryError) as error, written_whole(target):
        pass
    assert error.value.filename == str(target)
    assert target.read_text() == "mine"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_told_before_any_work_and_stays(tmp_path, there):
    target = tmp_path / "clips"
    target.symlink_to(tmp_path / "elsewhere")
    if there:
        (tmp_path / "elsewhere").mkdir()
    with pytest.raises(SerError, match=f"{target} is a link"), written_whole(target):
        raise AssertionError("work")
    assert target.is_symlink()
