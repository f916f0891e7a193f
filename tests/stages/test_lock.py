"""A dvc.lock that a killed ``dvc repro`` has cut is mended by ``make repro``, and nothing else is touched."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ser import SerError
from stages import lock
from tests.pipeline import ROOT

WHOLE = (ROOT / "dvc.lock").read_bytes()
SAID = "dvc.lock was half-written, as a killed `dvc repro` may leave it: it is again as in the last commit"
STAGES = re.findall(r"^  (\w+(?:@\w+)?):$", WHOLE.decode(), re.M)
SMALL = b"""\
schema: '2.0'
stages:
  split@demo:
    cmd: python -m stages.split
    deps:
    - path: stages/split.py
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 12
    outs:
    - path: data/folds/demo.csv
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 345
  train@demo:
    cmd: python -m stages.train
    params:
      params.yaml:
        train.lr: 0.01
    outs:
    - path: models/demo
      hash: md5
      md5: 0123456789abcdef0123456789abcdef.dir
      size: 678
      nfiles: 9
  evaluate@demo:
    cmd: python -m stages.evaluate
    outs:
    - path: data/predictions/demo.csv
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 12
    - path: metrics/corpora/demo.json
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 34
"""
OWN = ["-c", "user.email=a@example.org", "-c", "user.name=A"]


def git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], capture_output=True, text=True)


def committed(content: bytes, message: str) -> None:
    Path("dvc.lock").write_bytes(content)
    assert git("add", "dvc.lock").returncode == 0
    assert git(*OWN, "commit", "-qm", message).returncode == 0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose last commit has the project's dvc.lock."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    git("init", "-qb", "main")
    committed(WHOLE, "start")
    return tmp_path / "dvc.lock"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        WHOLE[:9],
        WHOLE[: WHOLE.rindex(b"path:") + 2],
        WHOLE[: WHOLE.rindex(b"md5:")],
        WHOLE[: WHOLE.rindex(b"md5:") + 12],
        WHOLE[: WHOLE.rindex(b"      size:")],
        WHOLE[:-1],
        b"\0" * len(WHOLE),
        b"[" * 9999,
        b"\xff\xfe",
        b"5",
        b"schema: '3.0'\nstages: {}\n",
    ],
    ids=[
        "empty",
        "cut in its head",
        "cut in a key",
        "cut before a hash",
        "cut in a hash",
        "cut before a size",
        "cut in the last line",
        "zeroed",
        "deep",
        "no text",
        "a number",
        "another schema",
    ],
)
def test_a_part_is_replaced(project: Path, content: bytes) -> None:
    project.write_bytes(content)
    assert lock.mended() == SAID
    assert project.read_bytes() == WHOLE
    assert [path.name for path in project.parent.iterdir() if path.name != ".git"] == ["dvc.lock"]


@pytest.mark.parametrize(
    "content",
    [WHOLE, WHOLE.replace(b"size: 1", b"size: 2"), b"schema: '2.0'\n", WHOLE[: WHOLE.rindex(b"  export@")]],
    ids=["as committed", "newer", "short", "without the last stages"],
)
def test_a_whole_file_stays(project: Path, content: bytes) -> None:
    project.write_bytes(content)
    assert lock.mended() is None
    assert project.read_bytes() == content


def test_a_missing_file_is_no_damage(project: Path) -> None:
    project.unlink()
    assert lock.mended() is None
    assert not project.exists()


def test_a_conflict_is_left_to_its_owner(project: Path) -> None:
    git("checkout", "-qb", "other")
    committed(WHOLE.replace(b"size: 1", b"size: 2"), "other")
    git("checkout", "-q", "main")
    committed(WHOLE.replace(b"size: 1", b"size: 3"), "mine")
    assert git(*OWN, "merge", "other").returncode != 0
    content = project.read_bytes()
    with pytest.raises(SerError, match=r"dvc\.lock is in conflict: take one side"):
        lock.mended()
    assert project.read_bytes() == content


def test_without_a_commit_the_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.lock").write_bytes(WHOLE[:9])
    with pytest.raises(SerError, match="git has no commit with a whole one: remove it, and `dvc repro` writes it anew"):
        lock.mended()
    assert (tmp_path / "dvc.lock").read_bytes() == WHOLE[:9]


def test_a_folder_in_its_place_is_one_message(project: Path) -> None:
    project.unlink()
    project.mkdir()
    with pytest.raises(SerError, match=r"dvc\.lock cannot be read: a folder"):
        lock.mended()


@pytest.mark.parametrize("cut", [12017, 60001])
def test_a_part_that_was_committed_is_not_taken_for_the_whole(project: Path, cut: int) -> None:
    whole = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout[:10]
    committed(WHOLE[:cut], "everything")
    assert lock.mended() == SAID.replace("the last commit", f"commit {whole}, the last that has a whole one")
    assert project.read_bytes() == WHOLE
    assert lock.mended() is None


def test_make_repro_begins_with_it(project: Path) -> None:
    said = subprocess.run(["make", "-n", "repro"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commands = [line.split("DVC_NO_ANALYTICS=1 ")[1] for line in said.splitlines() if "DVC_NO_ANALYTICS=1" in line]
    assert commands.index("python -m stages.lock") < commands.index("dvc repro")
    project.write_bytes(WHOLE[:9])
    done = subprocess.run([sys.executable, "-m", "stages.lock"], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{SAID}\n"), done.stderr


def test_a_cut_anywhere_is_mended_or_what_it_lost_is_told(project: Path) -> None:
    """DVC reads most of these files; they are cut after every line, and within lines."""
    committed(SMALL, "a small one")
    for end in {*range(0, len(SMALL), 7), *(match.end() for match in re.finditer(rb"\n", SMALL))} - {len(SMALL)}:
        project.write_bytes(SMALL[:end])
        between = re.match(rb"(      nfiles: \d+\n)?(  \w+@demo:\n|stages:\n|\Z)", SMALL[end:])
        lost = [name for name in ("split@demo", "train@demo", "evaluate@demo") if f"\n  {name}:\n".encode() not in SMALL[:end]]
        assert lock.mended() == SAID or (between and lock.forgotten() == lost), end
        assert lock.mended() is None


def test_what_a_whole_file_lacks_is_told(project: Path) -> None:
    cut = WHOLE.rindex(b"  export@")
    project.write_bytes(WHOLE[:cut])
    done = subprocess.run([sys.executable, "-m", "stages.lock"], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    lost = ", ".join(name for name in STAGES if f"\n  {name}:\n".encode() in WHOLE[cut - 1 :])
    assert (done.returncode, done.stdout) == (
        0,
        f"dvc.lock lacks what the last commit's has: {lost}. `git checkout dvc.lock` brings it back\n",
    ), done.stderr
    assert lost.count("@")
    assert project.read_bytes() == WHOLE[:cut]
