"""Doctor: hash every output that dvc.lock names, in the workspace and in DVC's cache, and say what to run.

    python -m stages.doctor

DVC assumes that a read-only file in its cache is intact. This is not a stage of dvc.yaml: it writes
nothing. Ends with status 1 if something is damaged.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import itertools
import json
import logging
import shlex
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dvc.exceptions import DvcException
from dvc.repo import Repo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ser import SerError
from ser.params import Params
from ser.runtime.files import regular
from ser.runtime.text import printable_lines
from stages import command
from stages.lock import HASH, forgotten
from stages.paths import LOCK

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class File:
    """A file that a stage wrote.

    Attributes:
        stage: name of the stage, as ``dvc repro`` takes it.
        path: in the workspace.
        md5: of its content, in hex.
        cached: its object in DVC's cache; None for files that are in git.
    """

    stage: str
    path: Path
    md5: str
    cached: Path | None


@dataclass
class Found:
    """What is wrong, each with the stage that wrote it: damaged objects of the cache, changed files, missing ones."""

    damaged: list[tuple[str, Path]]
    changed: list[tuple[str, Path]]
    missing: list[tuple[str, Path]]


def main(params: Params, options: argparse.Namespace) -> None:
    """Look at all files and print what to run."""
    try:
        repo = Repo()
        cache = Path(repo.cache.local.path)
    except DvcException as error:
        raise SerError(f"DVC cannot be asked for its cache: {error}") from None
    if lost := forgotten():
        log.info("not in dvc.lock, and in that of the last commit, so `git checkout dvc.lock` brings it back: %s", ", ".join(lost))
    found = examine(LOCK, cache)
    for what, files in (("damaged in the cache", found.damaged), ("not as dvc.lock says", found.changed), ("missing", found.missing)):
        for stage, path in files:
            log.info("%s: %s (%s)", what, path, stage)
    if not (found.damaged or found.changed or found.missing):
        log.info("all outputs in dvc.lock are whole")
        return
    print(printable_lines(advice(found)))
    if found.damaged or found.changed:
        raise SerError(f"{len(found.damaged)} damaged, {len(found.changed)} changed, {len(found.missing)} missing")


def examine(lock: Path, cache: Path) -> Found:
    """Hash every output of a lock file.

    Args:
        lock: ``dvc.lock``.
        cache: folder of objects, ``ab/cdef…``.
    """
    found = Found([], [], [])
    seen: set[Path] = set()
    for file in _files(lock, cache, found):
        whole = file.cached is None or file.cached in seen or _whole(file.cached, file.md5)
        if file.cached is not None:
            seen.add(file.cached)
            if whole is False:
                found.damaged.append((file.stage, file.cached))
        there = _whole(file.path, file.md5)
        if there is False:
            found.changed.append((file.stage, file.path))
        elif there is None:
            found.missing.append((file.stage, file.path))
    return found


def locked(paths: Collection[Path]) -> set[Path]:
    """Those of the files that dvc.lock names with the bytes that they have."""
    try:
        cache = Path(Repo().cache.local.path)
        return {file.path for file in _files(LOCK, cache, Found([], [], [])) if file.path in paths and _whole(file.path, file.md5)}
    except (DvcException, SerError, KeyError, TypeError, ValueError):
        return set()


def different(stage: str, lock: Path, within: Path = Path()) -> Path | None:
    """The first file of a stage's outputs that is here and not as a lock file says; None where all are, or it names no such stage.

    Args:
        stage: as ``dvc repro`` takes it.
        lock: the lock file.
        within: folder outside of which nothing is looked at.

    Raises:
        SerError: if the lock file is damaged.
    """
    try:
        cache = Path(Repo().cache.local.path)
    except DvcException:
        cache = Path(".dvc/cache/files/md5")
    files = (file for file in _files(lock, cache, Found([], [], [])) if file.stage == stage and file.path.is_relative_to(within))
    return next((file.path for file in files if _whole(file.path, file.md5) is False), None)


def in_cache(lock: Path, path: Path) -> Path | None:
    """The object of the cache that a lock file names for a file; None if it names none, or the object is not there or damaged."""
    try:
        cache = Path(Repo().cache.local.path)
        files = [file for file in _files(lock, cache, Found([], [], [])) if file.path == path and file.cached is not None]
    except (DvcException, SerError):
        return None
    return next((file.cached for file in files if file.cached is not None and _whole(file.cached, file.md5)), None)


def recorded(lock: Path, path: Path) -> str | None:
    """The MD5 that a lock file names for a file: as an output, in the list of a folder, or as what a stage read; None if it names none.

    Raises:
        SerError: if the file lies in a folder whose list is damaged, or is not in the cache while no stage read the file by its name.
    """
    made = dict(itertools.chain.from_iterable(_named(lock, "outs").values()))
    if path in made:
        return made[path]
    folder = next((above for above in path.parents if above in made), None)
    if folder is None:
        return None
    listing = _object(Path(Repo().cache.local.path), made[folder])
    whole = _whole(listing, made[folder].removesuffix(".dir"))
    if whole:
        return {folder / inner: md5 for inner, md5 in _listed(listing, lock)}.get(path)
    if whole is None and (md5 := dict(itertools.chain.from_iterable(_named(lock, "deps").values())).get(path)) is not None:
        return md5
    there = "not in DVC's cache" if whole is None else "damaged: remove it"
    raise SerError(
        f"{path} cannot be checked: the list of the files in {folder}, {listing}, is {there}; `dvc fetch` brings it, or `dvc repro`"
    )


def advice(found: Found) -> str:
    """The commands that put things right, one a line."""
    lines = [f"rm -f {shlex.quote(str(path))}" for _, path in found.damaged]
    lines += [f"rm -f {shlex.quote(str(path))}" for stage, path in found.changed if stage in {damaged for damaged, _ in found.damaged}]
    stages = sorted({shlex.quote(stage) for stage, _ in [*found.damaged, *found.changed, *found.missing]})
    return "\n".join([*lines, f"dvc pull --allow-missing {' '.join(stages)}  # if a remote has them", f"dvc repro {' '.join(stages)}"])


def _files(lock: Path, cache: Path, found: Found) -> Iterator[File]:
    """Every file of every output; those of a folder are listed in an object of the cache."""
    for stage, outs in _named(lock, "outs").items():
        for path, md5 in outs:
            if not md5.endswith(".dir"):
                yield File(stage, path, md5, _kept(_object(cache, md5)))
                continue
            listing = _object(cache, md5)
            whole = _whole(listing, md5.removesuffix(".dir"))
            if whole is not True:
                (found.missing if whole is None else found.damaged).append((stage, listing))
                continue
            for inner, its in _listed(listing, lock):
                yield File(stage, path / inner, its, _kept(_object(cache, its)))


def _named(lock: Path, kind: Literal["outs", "deps"]) -> dict[str, list[tuple[Path, str]]]:
    """Path and hash of each output, or of all that was read, by stage."""
    try:
        with regular(lock) as file:  # a pipe would be waited for without end
            stages: dict[str, Any] = YAML(typ="safe", pure=True).load(file)["stages"]
        return {str(stage): [_output(out["path"], out["md5"]) for out in entry.get(kind, [])] for stage, entry in stages.items()}
    except FileNotFoundError:
        raise SerError(f"{lock} not found: nothing has run yet; `dvc repro` runs the pipeline") from None
    except (YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise SerError(f"{lock} is damaged ({said}): `git checkout {lock}` brings back the last commit's") from None


def _listed(listing: Path, lock: Path) -> list[tuple[Path, str]]:
    """Path and hash of each file of a folder."""
    try:
        return [_output(one["relpath"], one["md5"]) for one in json.loads(listing.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise SerError(
            f"{lock} is damaged ({listing} is no list of files: {error}): `git checkout {lock}` brings back the last commit's"
        ) from None


def _output(path: str, md5: str) -> tuple[Path, str]:
    """Checked path and hash: they name files that are read, and that a person is told to remove.

    Raises:
        ValueError: if the path leaves the workspace, or the hash is none.
    """
    place = Path(path)
    if place.is_absolute() or ".." in place.parts or not place.parts or "\0" in path:
        raise ValueError(f"{path!r} is no path in the workspace")
    if not isinstance(md5, str) or not HASH.fullmatch(md5):
        raise ValueError(f"{md5!r} is no MD5")
    return place, md5


def _object(cache: Path, md5: str) -> Path:
    return cache / md5[:2] / md5[2:]


def _kept(cached: Path) -> Path | None:
    return cached if cached.exists() else None


def _whole(path: Path, md5: str) -> bool | None:
    """Whether a file has this content; None where there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe might never begin, a device never end
            return False
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


if __name__ == "__main__":
    command.run(argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter), main)
