"""The doctor: what DVC believes to be whole and is not."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ser import SerError
from stages import doctor

ROOT = Path(__file__).resolve().parents[2]
MD5 = "a" * 32
PIPELINE = """
stages:
  make:
    cmd: mkdir -p models && printf weights > models/a && printf facts > models/b && printf text > one.txt
    outs:
    - models
    - one.txt
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small pipeline after its run; its cache is hard-linked into the workspace, so that one damage hits both."""
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for command in (["init", "--no-scm", "-q"], ["config", "cache.type", "hardlink"], ["repro", "-q"]):
        dvc(folder, *command)
    return folder


def dvc(folder: Path, *command: str) -> str:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / "site")}
    return subprocess.run(["dvc", *command], cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def diagnosis(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "stages.doctor"], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_a_cut_object_that_dvc_believes_is_found_and_mended(ran):
    assert diagnosis(ran) == (0, "all outputs in dvc.lock are whole\n")
    (cut,) = (path for path in (ran / ".dvc/cache/files/md5").glob("*/*") if path.read_bytes() == b"weights")
    cut.chmod(0o644)
    cut.write_bytes(b"wei")
    cut.chmod(0o444)
    code, said = diagnosis(ran)
    assert code == 1
    assert f"damaged in the cache: {cut} (make)" in said
    assert "not as dvc.lock says: models/a (make)" in said
    assert "Traceback" not in said
    commands = [line for line in said.splitlines() if line.startswith(("rm ", "dvc repro"))]
    subprocess.run("\n".join(commands), shell=True, cwd=ran, check=True, capture_output=True)
    assert diagnosis(ran)[0] == 0
    assert (ran / "models/a").read_text() == "weights"


def test_what_is_missing_is_no_damage(tmp_path):
    (tmp_path / "dvc.lock").write_text(f"stages: {{make: {{outs: [{{path: gone.txt, md5: {MD5}}}]}}}}\n")
    found = doctor.examine(tmp_path / "dvc.lock", tmp_path / "cache")
    assert found == doctor.Found([], [], [("make", Path("gone.txt"))])


@pytest.mark.parametrize(
    "lock",
    [
        b"",
        b"<<<<<<< HEAD\nschema: '2.0'\nstages: {}\n",
        b"stages: []",
        b"stages: {make: null}",
        b"stages: {make: {outs: [{path: x}]}}",
        b"stages: {make: {outs: [x]}}",
        b"stages: {make: {outs: {path: x}}}",
        b"stages: {make: {outs: [{path: 3, md5: a}]}}",
        b"stages: {make: {outs: [{path: /etc/passwd, md5: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}]}}",
        b"stages: {make: {outs: [{path: ../../x, md5: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}]}}",
        b"stages: {make: {outs: [{path: '', md5: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}]}}",
        b'stages: {make: {outs: [{path: "a\\0b", md5: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}]}}',
        b"stages: {make: {outs: [{path: x, md5: ../../../../etc/passwd}]}}",
        b"stages: {make: {outs: [{path: x, md5: null}]}}",
        b"stages: {make: {outs: [{path: x, md5: 0123}]}}",
        b"stages: " + b"[" * 5000,
        b"\xff",
    ],
)
def test_a_damaged_lock_is_one_message(tmp_path, lock):
    """Such as a merge leaves; DVC itself is not asked."""
    (tmp_path / "dvc.lock").write_bytes(lock)
    with pytest.raises(SerError, match=r"dvc.lock is damaged \(.*\): `git checkout .*dvc.lock`"):
        doctor.examine(tmp_path / "dvc.lock", tmp_path / "cache")


def test_a_folder_in_the_place_of_a_file_is_not_as_the_lock_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x").mkdir()
    Path("dvc.lock").write_text(f"stages: {{make: {{outs: [{{path: x, md5: {MD5}}}, {{path: x/y/z, md5: {MD5}}}]}}}}\n")
    Path("x/y").touch()
    found = doctor.examine(Path("dvc.lock"), Path("cache"))
    assert (found.changed, found.missing) == ([("make", Path("x"))], [("make", Path("x/y/z"))])


def test_advice_is_a_command_for_any_name():
    (line, *_) = doctor.advice(doctor.Found([("make", Path("/home/o'brien/a b"))], [], [])).splitlines()
    assert shlex.split(line) == ["rm", "-f", "/home/o'brien/a b"]


def test_advice_runs_no_command_from_a_lock():
    """Not even for a person who pastes it into a shell."""
    last = doctor.advice(doctor.Found([], [], [("x; touch /tmp/y", Path("a"))])).splitlines()[-1]
    assert shlex.split(last) == ["dvc", "repro", "x; touch /tmp/y"]


def test_a_listing_that_leaves_its_folder_is_damage(tmp_path):
    content = json.dumps([{"relpath": "../../x", "md5": MD5}]).encode()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    (tmp_path / "cache" / md5[:2]).mkdir(parents=True)
    (tmp_path / "cache" / md5[:2] / f"{md5[2:]}.dir").write_bytes(content)
    (tmp_path / "dvc.lock").write_text(f"stages: {{make: {{outs: [{{path: models, md5: {md5}.dir}}]}}}}\n")
    with pytest.raises(SerError, match=r"no path in the workspace"):
        doctor.examine(tmp_path / "dvc.lock", tmp_path / "cache")


@pytest.mark.parametrize("kind", ["pipe", "device", "loop"])
def test_what_is_no_file_is_not_as_the_lock_says(tmp_path, kind):
    """In a process of its own: one that reads a pipe or device would not end."""
    path = tmp_path / "x"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to({"device": "/dev/zero", "loop": path}[kind])
    code = "from pathlib import Path; from stages.doctor import *; print(examine(Path('dvc.lock'), Path('cache')).changed)"
    (tmp_path / "dvc.lock").write_text(f"stages: {{make: {{outs: [{{path: x, md5: {MD5}}}]}}}}\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30)
    assert done.stdout == "[('make', PosixPath('x'))]\n", done.stderr


def test_a_stage_that_the_last_commit_has_and_the_lock_lacks_is_told(tmp_path):
    """As when a lock was cut between two stages."""
    own = ["-c", "user.email=a@example.org", "-c", "user.name=A"]
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages:\n  made:\n    cmd: true\n  lost:\n    cmd: true\n")
    for words in (["init", "-q"], ["add", "dvc.lock"], [*own, "commit", "-qm", "start"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    dvc(tmp_path, "init", "-q")
    assert "not in dvc.lock" not in diagnosis(tmp_path)[1]
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages:\n  made:\n    cmd: true\n")
    code, said = diagnosis(tmp_path)
    assert code == 0
    assert said.startswith("not in dvc.lock, and in that of the last commit, so `git checkout dvc.lock` brings it back: lost\n")
