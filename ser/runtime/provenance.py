"""Where a result was made: git revision, processor, graphics cards and versions.

It stands beside results and never changes one.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ser.runtime.machine import cores

LIBRARIES = ("numpy", "scipy", "soundfile", "soxr", "webrtcvad-wheels", "librosa", "torch", "onnxruntime", "scikit-learn", "pandas", "dvc")
"""Packages whose versions are named, where they are installed."""


@dataclass(frozen=True)
class Provenance:
    """Where a result was made.

    Attributes:
        revision: commit of the working tree, with ``-dirty`` when tracked files differ from it, other than the records of
            benchmarks; empty outside git.
        cpu: processor model as the kernel names it.
        cores: cores that this process may use.
        gpu: models of the graphics cards; empty without one.
        python: version of Python.
        libraries: version of each package of ``LIBRARIES`` that is installed.
    """

    revision: str
    cpu: str
    cores: int
    gpu: list[str]
    python: str
    libraries: dict[str, str]


def provenance() -> Provenance:
    """Where this process runs: revision, machine, libraries, in its working directory."""
    return Provenance(
        revision=_revision(),
        cpu=_cpu(),
        cores=cores(),
        # The driver is asked, so that torch need not be imported.
        gpu=_output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines(),
        python=platform.python_version(),
        libraries=versions(),
    )


def _revision() -> str:
    commit = _output("git", "describe", "--always", "--abbrev=12", "--exclude=*")
    # One benchmark's new record is not another code for the next.
    changed = _output("git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)metrics/benchmarks")
    return f"{commit}-dirty" if commit and changed else commit


def versions() -> dict[str, str]:
    """Version of each package of ``LIBRARIES`` that is installed."""
    found = {name: _version(name) for name in LIBRARIES}
    return {name: version for name, version in found.items() if version}


def _cpu() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _output(*command: str) -> str:
    """What a command prints; empty where it fails or does not exist."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
