"""The shrunk demo corpus with all stages done once, undisturbed: what every trial starts from, and what it must come back to."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests import dependencies
from tests.pipeline import ROOT, SMALL
from tests.torture import child
from tests.torture.child import Ended

STAGES = ("download", "preprocess", "split", "features", "encode", "train", "evaluate", "export", "report")
SMALLER: dict[str, Any] = {
    **SMALL,
    "corpora.demo.source.speakers": 4,
    "corpora.demo.source.sentences": 1,
    "split.folds": 2,
    "evaluate.bootstrap": 100,
    "evaluate.robustness.snr_db": [10.0],
    "evaluate.robustness.gain_db": [],
    "evaluate.robustness.mp3": False,
}
"""Only what makes a trial short: 24 clips, two folds, one condition of noise."""
SECONDS = 120.0
"""After which a stage of this corpus counts as hung. The longest takes about three."""
BESIDE = {"models/demo.log", "reports/made.json", "reports"}
"""Files that stages write beside their outputs, with times or revisions in them."""
GIVEN = {"params.yaml", "dvc.yaml"}
"""Files that stages read and nobody writes."""
HEAVY = (
    "torch._dynamo",
    "torch.export",
    "torch.onnx._internal.exporter._core",
    "onnxscript.function_libs.torch_lib.ops",
    "onnxruntime",
    "networkx",
    "espeakng_loader",
    "jinja2",
    "sklearn.linear_model",
    "sklearn.svm",
    "scipy.signal",
    "ser.serving.cli",
    "ser.serving.predict",
)
"""Modules that stages import late, beside those of the project."""


@dataclass
class Ground:
    """The corpus after all stages, in a folder, and what each stage wrote.

    Attributes:
        folder: the work folder; nothing in it is changed by trials.
        seconds: of each stage, undisturbed.
        caches: names in TMPDIR that undisturbed runs leave: folders in which torch keeps compiled code.
        renames: number of renames of each stage.
        written: bytes that each stage wrote.
    """

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    caches: frozenset[str] = frozenset()
    renames: dict[str, int] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)

    def lay(self, target: Path, before: str, own: bool = False) -> Place:
        """A work folder in which everything before a stage is done.

        Args:
            target: an empty folder.
            before: the stage; ``end``: all are done.
            own: the outputs of the stage itself are there too.
        """
        place = Place(target, self.caches)
        last = len(STAGES) if before == "end" else STAGES.index(before) + own
        for name in GIVEN:
            shutil.copy(self.folder / name, place.work)
        (place.work / "metrics/corpora").mkdir(parents=True)
        (place.work / "metrics/plots").mkdir()
        for stage in STAGES[:last]:
            for name in self.files[stage]:
                copied = place.work / name
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.folder / name, copied)
        return place

    def until(self, stage: str) -> dict[str, str]:
        """Hash of each output file of all stages up to this one."""
        return {name: sum_ for one in STAGES[: STAGES.index(stage) + 1] for name, sum_ in self.files[one].items()}


@dataclass
class Place:
    """A folder of one trial: ``work`` (where stages run), ``cache`` and ``tmp`` beside it, where the names ``caches`` may stay."""

    folder: Path
    caches: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for path in (self.work, self.cache, self.tmp):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def work(self) -> Path:
        """Where stages run."""
        return self.folder / "work"

    @property
    def cache(self) -> Path:
        """SER_CACHE_DIR."""
        return self.folder / "cache"

    @property
    def tmp(self) -> Path:
        """TMPDIR."""
        return self.folder / "tmp"

    def environment(self, **changes: str) -> Mapping[str, str]:
        """What is set for stages here."""
        told = {"SER_CACHE_DIR": str(self.cache), "TMPDIR": str(self.tmp), "SER_WORKERS": "1", "SER_THREADS": "1"}
        return {**told, "PYTHONPATH": str(ROOT), **changes}

    def stage(self, name: str, seconds: float = SECONDS) -> Ended:
        """Run a stage here, to its end."""
        return child.run(lambda: child.stage(name), self.work, self.environment(), seconds)

    def left(self, expected: Mapping[str, str]) -> list[str]:
        """Files that nobody needs: in the work folder beyond those expected, in TMPDIR, and trainings' in the cache."""
        beyond = [name for name in sorted(hashes(self.work)) if name not in expected and name not in BESIDE | GIVEN]
        temporary = [f"TMPDIR/{path.name}" for path in sorted(self.tmp.iterdir()) if path.name not in self.caches]
        below = self.cache / "checkpoints"
        return beyond + temporary + ([f"cache/{path.name}" for path in sorted(below.iterdir())] if below.is_dir() else [])


def make(folder: Path) -> Ground:
    """Import everything, then run all stages once in a folder.

    Raises:
        RuntimeError: if a stage fails, undisturbed.
    """
    warm()
    place = Place(folder)
    ground = Ground(place.work)
    _write_params(place.work)
    for name in ("corpora", "plots"):
        (place.work / "metrics" / name).mkdir(parents=True)
    known = dict.fromkeys(GIVEN, "")
    for stage in STAGES:
        began = time.monotonic()
        ended = child.run(lambda stage=stage: _counted(stage), place.work, place.environment(), SECONDS)
        if ended.code != 0:
            raise RuntimeError(f"{stage} fails undisturbed ({ended.code}): {ended.said}")
        ground.seconds[stage] = time.monotonic() - began
        ground.renames[stage] = int(re.findall(r"^renames: (\d+)$", ended.said, re.MULTILINE)[-1])
        now = {name: found for name, found in hashes(place.work).items() if name not in BESIDE}
        ground.files[stage] = {name: found for name, found in now.items() if name not in known}
        known = now
    ground.caches = frozenset(path.name for path in place.tmp.iterdir())
    return ground


def warm() -> None:
    """Import what stages import, so that children need not; numerical libraries on one thread, as a fork needs it."""
    import stages  # noqa: F401  (it chooses kernels, and so comes first)

    for stage in STAGES:
        for path in dependencies.needed_by(f"stages/{stage}.py"):
            for file in sorted((ROOT / path).rglob("*.py")) if (ROOT / path).is_dir() else [ROOT / path]:
                dotted = file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
                if not (dotted.startswith("stages.") and dotted.split(".")[1] in STAGES) and not dotted.endswith("__main__"):
                    importlib.import_module(dotted)
    for name in HEAVY:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of each file below a folder by its path there; hidden ones too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() or path.is_symlink():
            found[path.relative_to(folder).as_posix()] = sum_of(path)
    return found


def sum_of(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def differing(folder: Path, expected: Mapping[str, str], names: Iterable[str] | None = None) -> list[str]:
    """Expected files that are missing or have other bytes, with which of both."""
    wrong = []
    for name in names if names is not None else expected:
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} (missing)")
        elif sum_of(path) != expected[name]:
            wrong.append(f"{name} (other bytes)")
    return wrong


def set_params(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change params.yaml in a folder by dotted keys."""
    yaml = YAML(typ="safe", pure=True)
    values = yaml.load(folder / "params.yaml")
    for key, value in changes.items():
        section = values
        *path, last = key.split(".")
        for name in path:
            section = section[name]
        section[last] = value
    with open(folder / "params.yaml", "w", encoding="utf-8") as stream:
        yaml.dump(values, stream)


def _write_params(folder: Path) -> None:
    for name in GIVEN:
        shutil.copy(ROOT / name, folder)
    set_params(folder, SMALLER)


def _counted(stage: str) -> None:
    """Run a stage, and say how many renames it took."""
    count = 0
    plain = {name: getattr(os, name) for name in ("rename", "replace")}

    def counting(name: str) -> Any:
        def renamed(*arguments: Any, **options: Any) -> None:
            nonlocal count
            count += 1
            plain[name](*arguments, **options)

        return renamed

    for name in plain:
        setattr(os, name, counting(name))
    try:
        child.stage(stage)
    finally:
        print(f"\nrenames: {count}", file=sys.stdout)
