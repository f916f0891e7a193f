"""The shrunk project under git and DVC, after ``dvc repro``: made once, copied for each trial that needs DVC itself."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.pipeline import Project
from tests.torture.ground import BESIDE, SMALLER, Ground, hashes

PLACES = ("data", "models", "exports", "reports", "metrics")
"""Folders in which outputs lie."""


def made(ground: Ground) -> Project:
    """The project beside the ground, made by whoever asks first. It ends with the outputs of the ground.

    Raises:
        RuntimeError: if it does not.
    """
    folder = ground.folder.parent / "project"
    with (ground.folder.parent / "project.lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if (folder.parent / "project.whole").exists():
            return Project.opened(folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        project = Project(folder)
        project.set(SMALLER)
        (folder / "params.yaml").write_bytes((ground.folder / "params.yaml").read_bytes())  # the report shows its text
        project.run("dvc", "repro")
        project.commit("results")
        wrong = [name for stage in ground.files.values() for name, known in stage.items() if hashes(folder).get(name) != known]
        if wrong:
            raise RuntimeError(f"dvc repro makes other bytes than the stages alone: {wrong}")
        (folder.parent / "project.whole").touch()
        return project


def copied(ground: Ground, target: Path) -> Project:
    """A copy of the project with a cache of its own below ``target``."""
    whole = made(ground)
    folder = target / "project"
    shutil.copytree(whole.folder, folder, symlinks=True)
    found = Project.opened(folder)
    found.environment["TMPDIR"] = str(target / "tmp")
    (target / "tmp").mkdir()
    found.run("git", "update-index", "-q", "--refresh", check=False)
    return found


def left(project: Project, expected: Mapping[str, str], caches: frozenset[str]) -> list[str]:
    """Files below the folders of outputs that no stage should have left, and what is in TMPDIR."""
    folder = project.folder
    names = [f"{place}/{name}" for place in PLACES for name in hashes(folder / place)]
    beyond = [name for name in names if name not in expected and name not in BESIDE and not name.endswith(".gitignore")]
    return beyond + [f"TMPDIR/{path.name}" for path in sorted(Path(project.environment["TMPDIR"]).iterdir()) if path.name not in caches]
