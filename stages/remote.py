"""Remote: hash what the DVC remote holds of the outputs in dvc.lock, name what is damaged, and put it right.

    python -m stages.remote            # say what is damaged or missing there
    python -m stages.remote --mend     # on a machine that has it whole: put its objects in their place

DVC looks at names and never at content when it pushes, and with `verify` it removes what arrives damaged without
saying so. This is not a stage of dvc.yaml. It reads all objects, so it takes as long as `dvc pull` into an empty
cache. Ends with status 1 if something is damaged and was not mended.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dvc.fs import LocalFileSystem
from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB
from tqdm import tqdm

from ser import SerError
from ser.params import Params
from stages import command

log = logging.getLogger(__name__)

BLOCK = 1 << 20
LISTING = 64 << 20
"""Bytes of the longest list of a folder that is read."""


@dataclass(frozen=True)
class Object:
    """An object of the remote.

    Attributes:
        stage: the stage whose output it is, as ``dvc repro`` takes it.
        path: the output, or the file of it.
        md5: its name, and the hash that its content should have; ends in ``.dir`` for the list of a folder.
    """

    stage: str
    path: Path
    md5: str


def main(params: Params, options: argparse.Namespace) -> None:
    """Look at all objects, and say what to run."""
    with errors_told("DVC cannot read its remote"):
        repo = Repo()
        name = options.remote or repo.config["core"].get("remote")
        if name is None:
            raise SerError("no remote is set: dvc remote add -d NAME ADDRESS (docs/remotes.md)")
        there, here = repo.cloud.get_remote_odb(name), repo.cache.local
        if not repo.config["remote"][name].get("verify"):
            log.warning("DVC believes what comes from %s; let it check: dvc remote modify %s verify true", name, name)
        damaged, missing = examine(repo, there, here)
    for one in missing:
        log.info("not in the remote: %s (%s)", one.path, one.stage)
    if missing:
        log.info("push them from a machine that has them: dvc push")
    left = 0
    for one in damaged:
        whole = here.exists(one.md5) and whole_in(here, one.md5)
        if options.mend and whole:
            with errors_told(f"DVC cannot write {there.oid_to_path(one.md5)}"):
                _cleared(there, one.md5)
                there.fs.put_file(here.oid_to_path(one.md5), there.oid_to_path(one.md5))
            log.info("mended: %s (%s)", one.path, one.stage)
            continue
        left += 1
        way = "whole in the cache here: python -m stages.remote --mend" if whole else "not whole here"
        log.info("damaged in the remote: %s, %s of %s; %s", there.oid_to_path(one.md5), one.path, one.stage, way)
    if left:
        stages = " ".join(sorted({one.stage for one in damaged}))
        raise SerError(
            f"{left} damaged in the remote {name}: run `python -m stages.remote --mend` on a machine whose `make doctor` finds all whole, "
            f"or compute them again here: dvc repro {stages} && python -m stages.remote --mend"
        )
    if not missing:
        log.info("all outputs in dvc.lock are whole in the remote %s", name)


@contextmanager
def errors_told(what: str) -> Iterator[None]:
    """Tell errors of a remote in one message: each kind of remote has exceptions of its own, and may need a package that is not here."""
    try:
        yield
    except SerError:
        raise
    except Exception as error:
        raise SerError(f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from None


def examine(repo: Repo, there: HashFileDB, here: HashFileDB) -> tuple[list[Object], list[Object]]:
    """Objects of the outputs in ``dvc.lock`` that are damaged in the remote, and those that it lacks; each once."""
    damaged: list[Object] = []
    missing: list[Object] = []
    seen: set[str] = set()
    with tqdm(desc="checking the remote", unit=" objects", mininterval=0.5, leave=False) as progress:
        for one in _objects(repo, there, here):
            if one.md5 in seen:
                continue
            seen.add(one.md5)
            progress.update()
            try:
                if not whole_in(there, one.md5):
                    damaged.append(one)
            except FileNotFoundError as error:
                if not _not_there(error):
                    raise SerError(f"DVC cannot read its remote: {one.path} ({one.stage}): {error.__cause__}") from None
                missing.append(one)
    return damaged, missing


def _not_there(error: FileNotFoundError) -> bool:
    """Whether the remote says so; over HTTP a server that cannot be reached ends in this error, too, with its cause."""
    cause = error.__cause__
    return cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410)


def _objects(repo: Repo, there: HashFileDB, here: HashFileDB) -> Iterator[Object]:
    """Every cached output, and every file of those that are folders."""
    for out in repo.index.outs:
        if not (out.use_cache and out.hash_info):
            continue
        one = Object(out.stage.addressing, Path(out.def_path), str(out.hash_info.value))
        yield one
        if one.md5.endswith(".dir") and (listing := _listing(one.md5, there, here)) is not None:
            for entry in json.loads(listing):
                yield Object(one.stage, one.path / entry["relpath"], entry["md5"])


def _listing(md5: str, there: HashFileDB, here: HashFileDB) -> bytes | None:
    """The list of a folder, from the cache or the remote; None where neither has it whole."""
    for place in (here, there):
        if not _is_file(place, md5):
            continue
        try:
            with place.fs.open(place.oid_to_path(md5), "rb") as stream:
                content: bytes = stream.read(LISTING)
        except FileNotFoundError:
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5.removesuffix(".dir"):
            return content
    return None


def whole_in(place: HashFileDB, md5: str) -> bool:
    """Whether an object has the content that its name says.

    Raises:
        FileNotFoundError: if it is not there.
    """
    if not _is_file(place, md5):
        return False
    seen = hashlib.md5(usedforsecurity=False)
    with place.fs.open(place.oid_to_path(md5), "rb") as stream:
        while block := stream.read(BLOCK):
            seen.update(block)
    return seen.hexdigest() == md5.removesuffix(".dir")


def _cleared(place: HashFileDB, md5: str) -> None:
    """Make way for an object where its place in a folder holds a pipe or a folder."""
    path = Path(place.oid_to_path(md5))
    if not _is_file(place, md5):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _is_file(place: HashFileDB, md5: str) -> bool:
    """Whether an object is a file; a pipe in a folder would be waited for without end. True for what is not there."""
    path = place.oid_to_path(md5)
    return not isinstance(place.fs, LocalFileSystem) or not os.path.exists(path) or os.path.isfile(path)


def _arguments() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--remote", metavar="NAME", help="the remote, if not the default one")
    made.add_argument("--mend", action="store_true", help="replace what is damaged there by what is whole in the cache here")
    return made


if __name__ == "__main__":
    command.run(_arguments(), main)
