"""What lies in the project's wheel, and a Python that finds only what the wheel asks for."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BLOCKED = """
import sys
allowed = {allowed!r}
class Absent:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
"""Python that blocks every package that is not allowed; numpy and others try some that they can do without."""


def built(folder: Path) -> Path:
    """The wheel, made from a copy, so that nothing is left in the working tree."""
    source = folder / "source"
    shutil.copytree(ROOT / "ser", source / "ser", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    return wheel


def metadata(wheel: Path) -> Message:
    """Its METADATA."""
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(packed.read(name).decode())


def named(requirement: str) -> str:
    """The distribution that a requirement names, in the index's spelling."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[(]", requirement)[0]).lower()


def packages(requirements: list[str]) -> set[str]:
    """Top-level packages of these distributions and of all that they need, as they are installed here."""
    waiting, dists = [named(one) for one in requirements], set[str]()
    while waiting:
        name = waiting.pop()
        if name in dists:
            continue
        dists.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another platform
            continue
        waiting += [named(one) for one in needs if "extra ==" not in one]
    there = importlib.metadata.packages_distributions()
    return {top for top, owners in there.items() if {named(owner) for owner in owners} & dists}
