"""Verify: run corpora again in a temporary copy of the last commit, and compare with what that commit says.

    python -m stages.verify                  # the demo corpus
    python -m stages.verify demo ravdess

Says "same bytes", or in which stage and file the first difference arose, how many values differ and how much
(docs/reproducibility.md). Where the processor has other kernels, bytes will differ; there the scores are
compared, within their intervals. Not a stage of dvc.yaml; it changes nothing here. Ends with status 1 if
something differs that should not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ser import SerError
from ser.evaluation import metrics, result
from ser.params import Params, plain
from ser.runtime import kernels
from ser.runtime.locks import alone, lock_if_free
from ser.runtime.parent import child_ends_with_this
from stages import changes, command
from stages.differing import difference, files_of
from stages.paths import Paths

PATIENCE = 10.0
"""Seconds for the stages to clear up after themselves."""
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals by which this command is ended."""
PREFIX = "ser-verify-"
"""Of the names of temporary folders."""
LOCKED = "run"
"""What is locked in them."""
LAST = ("evaluate", "export")
"""Stages after which a corpus is finished."""


@dataclass(frozen=True)
class Difference:
    """An output that is not the committed one.

    Attributes:
        stage: that made it, as ``dvc repro`` takes it.
        path: of the file, or of the folder where the committed files are not here.
        said: how many values differ and how much.
    """

    stage: str
    path: str
    said: str


def main(params: Params, options: argparse.Namespace) -> None:
    """Run the corpora again and say what came out."""
    names = options.corpora or ["demo"]
    for name in names:
        if name not in params.corpora:
            raise SerError(f"{name} is not a corpus in params.yaml; known: {', '.join(params.corpora)}")
    if not kernels.shared():
        print("This is no x86-64 processor with AVX2 on Linux: figures will differ, so scores are compared and not bytes.")
    ends_in_order()
    with own_folder() as folder:
        copy = folder / "copy"
        run_again(copy, names)
        failed = [name for name in names if not agrees(name, copy, compare_bytes=kernels.shared())]
    if failed:
        raise SerError(f"{', '.join(failed)}: not what the last commit says")


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder. What killed runs of this user left is removed first: those that live hold a lock."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCKED}.lock"):
        old = lock.parent
        with suppress(OSError):  # another one may be removing it
            if not old.is_symlink() and old.stat().st_uid == os.getuid() and (free := lock_if_free(old / LOCKED)) is not None:
                with free:
                    shutil.rmtree(old)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, alone(Path(folder) / LOCKED):
        yield Path(folder)


def run_again(copy: Path, names: list[str]) -> None:
    """Clone the last commit and run the pipeline there for these corpora, with a cache of its own.

    Raises:
        SerError: if there is no commit with params.yaml, or a stage fails; its own message stands above.
    """
    where = "params.yaml of the last commit"
    if not isinstance(plain(_committed(Path("params.yaml")), where), dict):
        raise SerError(f"{where} is no mapping of keys to values")
    do(["git", "clone", "-q", "--no-hardlinks", ".", str(copy)], Path.cwd(), "the last commit cannot be cloned")
    yaml = YAML()
    values = yaml.load(copy / "params.yaml")
    values["datasets"] = names
    with (copy / "params.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(values, stream)
    targets = [f"{stage}@{name}" for name in names for stage in LAST]
    do(["dvc", "repro", "--force", *targets], copy, "the pipeline did not run to its end", DVC_SITE_CACHE_DIR=str(copy.with_name("site")))


def agrees(name: str, copy: Path, compare_bytes: bool) -> bool:
    """Print how a corpus came out, and return whether that is as promised.

    Args:
        name: of the corpus.
        copy: the clone in which the corpus ran again.
        compare_bytes: ask for the same bytes, else for a score within the committed interval.

    Raises:
        SerError: if the last commit does not say what its own code makes of the corpus.
    """
    committed = _lock(_committed(Path("dvc.lock")), "dvc.lock of the last commit")
    again = _lock((copy / "dvc.lock").read_bytes(), "dvc.lock of this run")
    order = [f"{stage}@{name}" for stage in YAML(typ="safe", pure=True).load(copy / "dvc.yaml")["stages"]]
    stages = [stage for stage in order if stage in again]
    if not set(stages) & set(committed):
        raise SerError(f"dvc.lock of the last commit does not know {name}, so there is nothing to compare with")
    if not compare_bytes:
        return _score_is_inside(name, copy)
    if stale := next((stage for stage in stages if _needed(committed.get(stage, {}), again) != _needed(again[stage], again)), None):
        raise SerError(f"{stale}: dvc.lock of the last commit was written for other code or parameters; `dvc repro`, commit, and try again")
    found = first_difference(stages, committed, again, copy)
    if found is None:
        print(f"{name}: same bytes")
        return True
    print(f"{name}: the first difference is in stage {found.stage}, {found.path}: {found.said}")
    _score_is_inside(name, copy)
    return False


def first_difference(stages: Sequence[str], committed: Mapping[str, Any], again: Mapping[str, Any], copy: Path) -> Difference | None:
    """The first output of these stages, in their order, that is not the committed one.

    Args:
        stages: names, as dvc.lock has them.
        committed, again: stages of dvc.lock in the last commit and in the clone.
        copy: the clone.
    """
    for stage in stages:
        before = {out["path"]: str(out["md5"]) for out in committed.get(stage, {}).get("outs", [])}
        for out in again[stage].get("outs", []):
            path, old, new = out["path"], before.get(out["path"], "none"), str(out["md5"])
            if old == new:
                continue
            for part, one, other in files_of(path, old, copy, _cache()):
                if (said := difference(part, one, other)) is not None:
                    return Difference(stage, part, said)
            return Difference(stage, path, f"md5 {new}, committed {old}; `dvc pull {stage}` may bring the committed files, to count values")
    return None


def _needed(entry: Mapping[str, Any], again: Mapping[str, Any]) -> tuple[dict[str, str], Any]:
    """What a stage was run for: the hash of its code, and its parameters."""
    made = {out["path"] for stage in again.values() for out in stage.get("outs", [])}

    def is_made(path: str) -> bool:
        return any(path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in made)

    return {dep["path"]: dep["md5"] for dep in entry.get("deps", []) if not is_made(dep["path"])}, entry.get("params")


def _score_is_inside(name: str, copy: Path) -> bool:
    """Print the headline score of both, and return whether the new one lies in the committed interval."""
    path, main = Paths(name).result, metrics.listed()[0]
    before, after = result.parse(_committed(path).decode("utf-8"), str(path), name), result.read(copy / path)
    limits = before.ci.limits[metrics.HEADLINE]
    inside = limits is not None and limits[0] <= after.headline <= limits[1]
    interval = f" [{main.text(limits[0])}, {main.text(limits[1])}]" if limits else ""
    where = "within the committed interval" if inside else "not within the committed interval"
    print(f"{name}: {main.label} {main.text(after.headline)} here, {main.text(before.headline)}{interval} committed: {where}")
    return inside


def _lock(content: bytes, where: str) -> dict[str, Any]:
    """The stages of a lock file."""
    try:
        stages: dict[str, Any] = YAML(typ="safe", pure=True).load(content)["stages"]
        for entry in stages.values():
            for one in [*entry.get("deps", []), *entry.get("outs", [])]:
                _ = one["path"], one["md5"]
    except (YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise SerError(f"{where} is damaged ({said}): `dvc repro`, and commit what it writes") from None
    return stages


def _committed(path: Path) -> bytes:
    content = changes.committed(path)
    if content is None and shutil.which("git") is None:
        raise SerError("the program git is not installed, or not in PATH, and this command needs it")
    if content is None:
        raise SerError(f"the last commit holds no {path}: run `dvc repro` and commit what it writes")
    return content


def _cache() -> Path:
    try:
        return Path(Repo().cache.local.path)
    except DvcException as error:
        raise SerError(f"DVC cannot be asked for its cache: {error}") from None


def ends_in_order() -> None:
    """Let a terminal that closes end this process as SIGTERM does: what it runs has a session of its own, and would live on."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))


def do(words: list[str], folder: Path, failed: str, **environment: str) -> None:
    """Run a command, which prints what it likes. An exception ends it with all that it started; if this process is killed, SIGTERM does.

    Raises:
        SerError: if it fails, or there is no such program.
    """
    child = None
    try:
        with signals_wait() as mask:
            tied = child_ends_with_this()

            def begin() -> None:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # the child would wait, too
                tied()

            variables = {**os.environ, **environment}
            child = subprocess.Popen(words, cwd=folder, env=variables, start_new_session=True, preexec_fn=begin)
        status = child.wait()
    except FileNotFoundError:
        raise SerError(f"{failed}: {words[0]} is not installed") from None
    except BaseException:
        if child is not None:
            _end(child)
        raise
    if status != 0:
        raise SerError(f"{failed}; see above")


@contextmanager
def signals_wait() -> Iterator[set[int]]:
    """Signals that end this process come after the block, so that what it starts is known by then. Yields those that waited before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(leader: subprocess.Popen[bytes]) -> None:
    """End all processes of a session; those that have not done so after ``PATIENCE`` seconds are killed."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            leader.poll()  # one that has ended counts until it is asked
            os.killpg(leader.pid, 0)
            time.sleep(0.05)
        os.killpg(leader.pid, signal.SIGKILL)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("corpora", nargs="*", metavar="NAME", help="corpora to run again (default: demo)")
    command.run(arguments, main)
