"""The licences of everything that requirements.txt and requirements-dev.txt install, from the installed packages' own metadata.

``python -m tests.licences`` writes docs/dependencies.md; ``tests/test_supply_chain.py`` holds the page against what is installed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ser.runtime.text import markdown_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/dependencies.md"

INSTEAD = {
    "espeakng-loader": "GPL-3.0: the wheel holds espeak-ng, which runs in a process of its own",
    "opensmile": "audEERING's own: research and other non-commercial use only",
}
"""Licences that the metadata leaves out or gets wrong, as the package's own files say."""
BESIDE = {
    "av": "the wheel holds FFmpeg, built with GPL parts",
    "soundfile": "the wheel holds libsndfile, LGPL-2.1-or-later",
}
"""What a wheel holds beside its package."""
ELSEWHERE = {
    "audioop-lts": "PSF-2.0",
    "standard-aifc": "PSF-2.0",
    "standard-chunk": "PSF-2.0",
    "standard-sunau": "PSF-2.0",
}
"""Needed by librosa on Python 3.13 and newer, so that the page has them whatever Python writes it."""
OF_CUDA = ("cuda-", "nvidia-", "triton")
"""Beginnings of the names of what torch's CUDA build brings; the page has one line for all."""

HEAD = """# Dependencies and their licences

`python -m tests.licences` writes this page from the metadata of the installed packages. A test compares it with what
`requirements.txt` and `requirements-dev.txt` install, the dependencies of dependencies included. `make audit` does so too,
asks for known vulnerabilities, and looks for credentials in the repository.

What each is needed for:

- **predict**: `pip install .`, the command `ser` and `from ser import load`;
- **laboratory**: `requirements.txt`, the pipeline;
- **development**: `requirements-dev.txt`, tests, style and types. It never reaches a user.

Where the metadata is silent or wrong, the table says what the package's own files say (`tests/licences.py`).

"""
TAIL = """

torch's CUDA build also installs `nvidia-*` and `cuda-*` packages under NVIDIA's proprietary licence, and `triton` (MIT).
Vega, which draws DVC's plots, lies in `docs/vega` with its licence (BSD-3-Clause). Licences of corpora:
[corpora.md](corpora.md#licences); of encoders: [encoders.md](encoders.md).

## What is fetched while it runs

- **Archives of a corpus.** `checksum` in `params.yaml`. Where that is null or no archive is named (both ASVP-ESD,
  EMO-DB), the md5 of Zenodo's API counts. The first download records what came in `data/raw/<corpus>/source.json`, whose hash stands in
  `dvc.lock`. Kaggle, ShEMO's second source, names no hash; what came is recorded in the same way.
- **Weights of an encoder.** Commit and sha256 in `ser/encoders/table.py`. Where a field is empty, the hub is asked at the
  first download; commit and sha256 are recorded beside the weights, checked at each later run, and printed as the line to
  pin. The small `config.json` is taken from the same commit over https, without a hash of its own.
- **Outputs from a DVC remote.** The hash in `dvc.lock`, if the remote has `verify` ([remotes.md](remotes.md)).
- **Packages.** Versions in `requirements.txt`; pip checks the hash that the index names.

A redirect is followed to https only, or within the one http server that was asked for. A redirect from https to anything
else is an error.
"""


@dataclass(frozen=True)
class Package:
    """A line of the page.

    Attributes:
        name: normalised.
        licence: as the metadata says, or ``not said``.
        needed: predict, laboratory or development, the first of them that needs it.
    """

    name: str
    licence: str
    needed: str


def resolved() -> tuple[list[Package], set[str]]:
    """All packages that the requirements bring here, by name; and required ones that are not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    found: dict[str, Package] = {}
    missing: set[str] = set()
    for needed, lines in (
        ("predict", project),
        ("laboratory", _lines("requirements.txt")),
        ("development", _lines("requirements-dev.txt")),
    ):
        there, lacking = closure(lines)
        missing |= lacking
        for name, one in there.items():
            if not name.startswith(OF_CUDA):
                found.setdefault(name, Package(name, licence(one), needed))
    return sorted(found.values(), key=lambda one: one.name), missing


def closure(requirements: Iterable[str]) -> tuple[dict[str, Distribution], set[str]]:
    """Installed distributions that the requirements bring, their dependencies included, by normalised name; and the missing."""
    found: dict[str, Distribution] = {}
    missing: set[str] = set()
    waiting = [Requirement(line) for line in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            missing.add(name)
            continue
        for line in found[name].requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                waiting.append(needed)
    return found, missing


def licence(package: Distribution) -> str:
    """The licence as the metadata says it: the SPDX expression, else the field if it is a name and no text, else the classifiers."""
    said = package.metadata
    name = canonicalize_name(said["Name"])
    if name in INSTEAD:
        return INSTEAD[name]
    field = " ".join((said.get("License") or "").split())
    classifiers = [line.split(" :: ")[-1] for line in said.get_all("Classifier") or [] if line.startswith("License :: OSI Approved :: ")]
    named = said.get("License-Expression") or (field if 0 < len(field) <= 50 and field != "Dual License" else "; ".join(classifiers))
    return "; ".join(filter(None, [named.replace("|", "or") or "not said", BESIDE.get(name)]))


def families(text: str) -> frozenset[str]:
    """The kinds of licence that are named: a new release may write BSD-3-Clause for BSD, which changes nothing."""
    kinds = r"\b(?:AGPL|LGPL|GPL|MPL|EPL|MIT|BSD|Apache|PSF|ISC|ZPL|Zope|CNRI|not said)"
    return frozenset(word.upper() for word in re.findall(kinds, text.replace("Python Software Foundation", "PSF"), re.IGNORECASE))


def rows(page: str) -> dict[str, tuple[str, str]]:
    """The table of the page: name → licence, needed for."""
    return {name: (what, needed) for name, what, needed in re.findall(r"^\| `([^`]+)` +\| (.*?) +\| (\w+) +\|$", page, re.MULTILINE)}


def write() -> None:
    """Write the page."""
    packages, missing = resolved()
    assert not missing, f"install requirements.txt and requirements-dev.txt first; missing: {', '.join(sorted(missing))}"
    listed = {one.name: one for one in packages}
    for name, what in ELSEWHERE.items():
        listed.setdefault(name, Package(name, f"{what}; on Python 3.13 and newer", "laboratory"))
    cells = [[f"`{one.name}`", one.licence, one.needed] for _, one in sorted(listed.items())]
    PAGE.write_text(HEAD + markdown_table(["package", "licence", "needed for"], cells) + TAIL, encoding="utf-8")


def _lines(name: str) -> list[str]:
    lines = (line.strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


if __name__ == "__main__":
    write()
