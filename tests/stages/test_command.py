"""Errors of the disk, the same in every stage: one message that says what, where and what to do; nothing half-written."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ser import SerError
from ser.params import load
from stages import command, paths

ROOT = Path(__file__).resolve().parents[2]
PARAMS = load(ROOT / "params.yaml")


def ended_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> str:
    """The message of a stage in which this error is raised."""

    def stage(params, options):
        raise error

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["stage", "--dataset", "demo"])
    with pytest.raises(SystemExit) as ended:
        command.run(command.parser("A stage."), stage)
    return str(ended.value.code)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EDQUOT, "quota exceeded"),
        (errno.EROFS, "Read-only file system"),
        (errno.EACCES, "Permission denied"),
        (errno.EPERM, "not permitted"),
        (errno.ENOTDIR, "Not a directory"),
        (errno.EEXIST, "File exists"),
        (errno.EISDIR, "Is a directory"),
        (errno.ENAMETOOLONG, "name too long"),
        (errno.EIO, "Input/output error"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "ulimit -n"),
    ],
)
def test_an_error_of_the_disk_is_one_message(monkeypatch, tmp_path, number, says):
    where = tmp_path / "models/demo/x"
    said = ended_with(monkeypatch, OSError(number, os.strerror(number), str(where)))
    assert said.startswith(f"error: {where}: ")
    assert says in said
    assert "\n" not in said
    assert ("MB free" in said) == (number in (errno.ENOSPC, errno.EDQUOT))


def test_no_folder_for_temporary_files_is_one_message(monkeypatch):
    said = ended_with(monkeypatch, FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"))
    assert said == "error: No usable temporary directory found in ['/tmp']: set TMPDIR to a folder that can be written"


def test_another_error_of_the_system_keeps_its_traceback(monkeypatch):
    with pytest.raises(OSError, match="no child"):
        ended_with(monkeypatch, OSError(errno.ECHILD, "no child"))


def test_a_full_disk_leaves_the_old_file_and_no_other(monkeypatch, tmp_path):
    path = tmp_path / "predictions" / "demo.csv"
    paths.write(path, "old\n")
    write_text = Path.write_text

    def write_half(part, text, **how):
        write_text(part, text[: len(text) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(OSError, match="No space left") as full:
        paths.write(path, "a new one\n")
    monkeypatch.undo()
    assert full.value.filename == str(path)
    assert path.read_text() == "old\n"
    assert list(path.parent.iterdir()) == [path]


def test_what_does_not_fit_is_said_before_it_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 3_000_000})())
    with pytest.raises(SerError, match=r"not enough space in .*: 5 MB needed, 3 MB free"):
        paths.write(tmp_path / "demo.csv", "x" * 5_000_000)
    assert list(tmp_path.iterdir()) == []


def test_a_terminated_stage_clears_up(tmp_path):
    """SIGTERM ends a process without a word to Python, so that a partial folder would stay."""
    script = """
import sys, time
from pathlib import Path
from ser.runtime.disk import written_whole
from stages import command

def stage(params, options):
    with written_whole(Path(sys.argv[-1]) / "demo") as partial:
        print("begun", flush=True)
        time.sleep(600)

made = command.parser("A stage.")
made.add_argument("folder")
command.run(made, stage)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", script, "--dataset", "demo", tmp_path], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as stage:
        assert stage.stdout is not None
        assert stage.stdout.readline() == "begun\n"
        stage.send_signal(signal.SIGTERM)
    assert stage.returncode == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", ["import stages", "from stages import command; command.parser('x')"])
def test_ctrl_c_before_a_stage_has_begun_is_one_line(moment):
    """It may come while modules are imported or arguments are read."""
    done = subprocess.run([sys.executable, "-c", f"{moment}; raise KeyboardInterrupt"], capture_output=True, text=True)
    assert done.stderr == "interrupted; a rerun resumes from what is finished\n"
    assert done.returncode in (130, -signal.SIGINT)
    other = subprocess.run([sys.executable, "-c", f"{moment}; raise ValueError('x')"], capture_output=True, text=True)
    assert "Traceback" in other.stderr


def test_what_a_stage_logs_cannot_command_the_terminal():
    script = """
import logging
from stages import command

def stage(params, options):
    logging.getLogger("x").warning("two lines\\nof %s", "esc\\x1b]0;owned\\x07\\r.wav")
    try:
        raise ValueError("\\x1b[2J")
    except ValueError:
        logging.getLogger("x").exception("größe")

command.run(command.parser("A stage."), stage)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", script, "--dataset", "demo"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, timeout=60, check=True
    )
    said = done.stderr.decode()
    assert said.startswith("two lines\nof esc\\x1b]0;owned\\x07\\r.wav\ngröße\nTraceback ")
    assert said.endswith("ValueError: \\x1b[2J\n")


@pytest.mark.parametrize(
    ("stage", "first"), [("evaluate", "data/predictions/demo.csv"), ("split", "data/folds/demo.csv"), ("train", "models/demo")]
)
def test_a_stage_runs_once_at_a_time_for_a_corpus(monkeypatch, tmp_path, stage, first):
    """Two runs of a stage that leaves several files would leave a mixture of both."""
    monkeypatch.chdir(tmp_path)
    script = f"""
import time
from stages import command
with command._checked({stage!r}, None, ["demo"]):
    print("begun", flush=True)
    time.sleep(600)
"""
    command_line = [sys.executable, "-c", script]
    with subprocess.Popen(command_line, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "begun\n"
            with (
                pytest.raises(SerError, match=f"^{first} is being written by another process: wait for it or end it"),
                command._checked(stage, PARAMS, ["demo"]),
            ):
                pass
            with command._checked("features", PARAMS, ["demo"]), command._checked(stage, PARAMS, ["ravdess"]):
                pass  # other stages and corpora are free
        finally:
            other.kill()
    with pytest.raises(KeyboardInterrupt), command._checked(stage, PARAMS, ["demo"]):
        raise KeyboardInterrupt
    with command._checked(stage, PARAMS, ["demo"]):
        pass
    assert not list(Path("data/sums").rglob(".*"))


def test_a_stage_ends_when_its_dvc_is_killed(tmp_path):
    script = """
import sys, time
from stages import command

def stage(params, options):
    print("begun", flush=True)
    try:
        time.sleep(600)
    finally:
        open(options.file, "w").close()

made = command.parser("A stage.")
made.add_argument("file")
command.run(made, stage)
"""
    dvc = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    words = [sys.executable, "-c", dvc, sys.executable, "-c", script, "--dataset", "demo", str(tmp_path / "ended")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_STAGE": "train@demo"}
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "begun\n"
        running.kill()
        assert running.stdout.read() == ""  # until the stage has closed it
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("module", ["stages.table", "stages.compare a b", "stages.verify", "stages.changes", "stages.lock"])
def test_without_git_a_command_says_so_or_does_without(module):
    done = subprocess.run(
        [sys.executable, "-m", *module.split()], cwd=ROOT, env={**os.environ, "PATH": "/nonexistent"}, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or module.startswith("stages.compare") or "the program git is not installed" in done.stderr


def test_a_database_of_dvc_on_a_full_disk_is_one_message(monkeypatch):
    said = ended_with(monkeypatch, sqlite3.OperationalError("database or disk is full"))
    assert said.startswith("error: a database of DVC cannot be used: database or disk is full")
    assert "DVC_SITE_CACHE_DIR" in said
