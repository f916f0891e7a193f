"""Commands end with one message, whatever goes wrong that a person can put right, and only our own faults show where they arose."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ser import SerError
from stages import bundle
from stages.ending import in_words
from tests.pipeline import ROOT

COMMANDS = ("stages.bundle", "stages.changes", "stages.lock", "stages.preset")
"""Those that read no parameters, and so do not go through ``command.run``."""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SerError("no \x1b[31mred"), "error: no \\x1b[31mred"),
        (FileNotFoundError(errno.ENOENT, "No such file", "data/x.csv"), "error: data/x.csv not found: an earlier stage writes it; "),
        (FileNotFoundError(errno.ENOENT, "No such file", "git"), "error: the program git is not installed"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/gone/x.csv"), "error: /gone/x.csv: No such file"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "data"), "error: data: Is a directory (a folder lies where a file is needed)"),
        (OSError(errno.ENXIO, "No such device", "/dev/x\ny"), "error: /dev/x\ny: No such device"),
        (sqlite3.OperationalError("disk I/O error"), "error: a database of DVC cannot be used: disk I/O error"),
    ],
)
def test_an_error_is_one_message(error: Exception, says: str) -> None:
    with pytest.raises(SystemExit) as ended, in_words():
        raise error
    assert str(ended.value).startswith(says)


@pytest.mark.parametrize("error", [OSError(errno.ENXIO, "No such device"), ValueError("ours"), FileNotFoundError("of ours")])
def test_what_names_no_place_is_our_fault_and_shows_where(error: Exception) -> None:
    with pytest.raises(type(error)), in_words():
        raise error


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="130"), in_words():
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "interrupted; a rerun resumes from what is finished\n"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("spoilt", ["a folder", "a pipe", "a dead link", "no text"])
def test_commands_without_parameters_end_so_too(tmp_path: Path, command: str, spoilt: str) -> None:
    for place in ("params.yaml", "dvc.lock", "docs/presets/x\x1b[31m.yaml", "exports/x\x1b[31m"):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if spoilt == "a folder":
            path.mkdir()
        elif spoilt == "a pipe":
            os.mkfifo(path)
        elif spoilt == "a dead link":
            path.symlink_to("nowhere")
        else:
            path.write_bytes(b"\xff\xfe\x00")
    words = ["x\x1b[31m"] if command in ("stages.bundle", "stages.preset") else []
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-m", command, *words],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert done.returncode in (0, 1)


@pytest.mark.parametrize("name", ["..", ".", "", "../exports/made", "/made", "none"])
def test_only_a_bundle_of_exports_goes_into_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "exports/made").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bundle", name])
    with pytest.raises(SystemExit, match=r"in exports/; there are: made"):
        bundle.main()
