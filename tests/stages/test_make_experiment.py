"""`make experiment` and `make sweep` with the real presets; a stand-in for `dvc` writes down what it is asked to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What the targets read, and a .venv whose `python` is this one."""
    for name in ("Makefile", "params.yaml", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "docs/presets", tmp_path / "docs/presets")
    programs = {"python": f'exec "{sys.executable}" "$@"', "dvc": 'echo "$@" >> asked'}
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name, line in programs.items():
        path = tmp_path / ".venv/bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    (tmp_path / ".venv/.installed").touch()
    return tmp_path


def make(folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What `make` said, and what `dvc` was asked for."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MAKEFLAGS": ""}
    done = subprocess.run(["make", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    asked = folder / "asked"
    return done, asked.read_text().splitlines() if asked.exists() else []


@pytest.mark.parametrize("words", [["PRESET=nix"], []])
def test_without_a_known_preset_nothing_runs_and_the_presets_are_listed(project: Path, words: list[str]) -> None:
    done, asked = make(project, "experiment", *words)
    assert done.returncode != 0
    presets = ", ".join(sorted(path.stem for path in (ROOT / "docs/presets").glob("*.yaml")))
    assert f"there are: {presets}" in done.stderr
    assert asked == []


def test_the_path_of_a_clone_is_no_part_of_a_shell_line(project: Path) -> None:
    odd = project.rename(project.with_name('it\'s a "clone" of $HOME `x` ä'))
    done, asked = make(odd, "experiment", "PRESET=zenkov")
    assert done.returncode == 0, done.stderr
    assert len(asked) == 1


def test_a_preset_becomes_overrides(project: Path) -> None:
    done, asked = make(project, "experiment", "PRESET=zenkov")
    assert done.returncode == 0, done.stderr
    assert len(asked) == 1
    assert asked[0].startswith("exp run -S ")
    assert "-S model.fusion=concat" in asked[0]


def test_the_sweep_takes_the_fusions_from_the_code(project: Path) -> None:
    done, asked = make(project, "sweep")
    assert done.returncode == 0, done.stderr
    fusions = sorted(path.stem for path in (ROOT / "ser/model/fusions").glob("[a-z]*.py"))
    clean = "-S features.log_mel.floor_db=-100.0 -S features.copies=null"
    assert asked[0] == f"exp run --queue {clean} -S model.fusion={','.join(fusions)}"
    assert [line.split()[:5] for line in asked[1:4]] == [
        ["exp", "run", "--queue", "-n", name] for name in ("paper", "zenkov", "cnn_transformer")
    ]
    assert all(line.endswith("-S split.protocol=auto -S train.epochs=60 -S train.patience=0 -S train.keep=best") for line in asked[1:4])
    assert asked[4] == "exp run --run-all --jobs 2"
