"""A copy of the project in a folder of its own, shrunk so that the whole pipeline runs in seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]

SMALL: dict[str, Any] = {
    "corpora.demo.source.speakers": 6,
    "corpora.demo.source.sentences": 2,
    "corpora.demo.source.repetitions": 1,
    "split.folds": 3,
    "model.dim": 32,
    "model.cnn.channels": [4, 8, 8],
    "model.cnn.stride_bins": [1, 1, 1],
    "model.cnn.stride_time": [1, 1, 1],
    "model.cnn.pool_bins": [4, 2, 2],
    "model.cnn.pool_time": [2, 2, 2],
    "model.transformer.layers": 1,
    "model.transformer.dim": 32,
    "model.transformer.ffn": 32,
    "train.epochs": 2,
    "features.copies.count": 1,
    "evaluate.bootstrap": 200,
    "evaluate.robustness.max_clips": 6,
    "evaluate.examples": 2,
}
"""Fewer voices, copies and steps; everything else as it ships."""

AGAINST = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "SSE4_2",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "AVX512_SPR",
}
"""Variables that choose other kernels than the stages do, among those that every processor has."""


class Project:
    """A git repository with the project's files, where commands run with this Python first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True)
        for name in listed.stdout.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / "dvc.lock").unlink(missing_ok=True)
        shutil.rmtree(folder / "metrics", ignore_errors=True)
        for name in ("corpora", "plots"):
            (folder / "metrics" / name).mkdir(parents=True)
        self.environment = _environment(folder)
        self.run("git", "init", "-q", "-b", "main")
        self.run("git", "config", "user.email", "test@example.org")
        self.run("git", "config", "user.name", "Test")
        self.set(SMALL)
        self.commit("start")

    @classmethod
    def opened(cls, folder: Path) -> Project:
        """A project that lies in this folder already, such as a copy of another."""
        project = cls.__new__(cls)
        project.folder, project.environment = folder, _environment(folder)
        return project

    def run(self, *command: str, check: bool = True, timeout: float = 1800, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; its output is in the error when it fails."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def commit(self, message: str) -> None:
        """Commit everything."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def read(self) -> dict[str, Any]:
        """params.yaml as plain values."""
        return YAML(typ="safe", pure=True).load(self.folder / "params.yaml")

    def set(self, changes: dict[str, Any]) -> None:
        """Change params.yaml by dotted keys and keep its style."""
        yaml = YAML()
        values = yaml.load(self.folder / "params.yaml")
        for key, value in changes.items():
            section = values
            *path, last = key.split(".")
            for name in path:
                section = section[name]
            assert last in section, key
            section[last] = value
        with open(self.folder / "params.yaml", "w") as stream:
            yaml.dump(values, stream)


def _environment(folder: Path) -> dict[str, str]:
    """Variables of the commands in a project: nothing of the caller's settings, and caches beside the folder."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("SER_", "DVC_", "GIT_"))},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SER_CACHE_DIR": str(folder.parent / f"{folder.name}-cache"),
        "SER_THREADS": "1",
        "SER_WORKERS": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder.parent / f"{folder.name}-site"),
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
