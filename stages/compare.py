"""Compare two runs clip by clip: is the second better than the first, or is the difference chance?

REV_A and REV_B are git revisions, names of DVC experiments, or `workspace` for the files of the working tree.
Their predictions come from DVC's cache or the default remote. For several runs joined by `+` the mean of their
probabilities is compared. Prints Markdown.

    python -m stages.compare HEAD workspace
    python -m stages.compare main concat --dataset ravdess --json comparison.json
    python -m stages.compare main main --knowing-speakers b     # what does speaker adaptation gain?
    python -m stages.compare linear linear+pretrained           # what does the average of two systems gain?
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from dvc.scm import SCMError
from dvc_data.index import DataIndexError

from ser import SerError
from ser.evaluation import predictions
from ser.evaluation.adaptation import FEWEST, speaker_adapted
from ser.evaluation.comparison import compare, markdown
from ser.params import Params
from ser.runtime.disk import file_written_whole, place_named
from ser.runtime.files import regular
from ser.signal.clips import read_table
from stages import changes, command, doctor
from stages.paths import Paths

WORKSPACE = "workspace"


def main(params: Params, options: argparse.Namespace) -> None:
    """Print the comparison of each corpus; with ``--json``, write all of them to a file."""
    logging.getLogger("dvc").setLevel(logging.ERROR)
    for revision in (options.rev_a, options.rev_b):
        if not all(revision.split("+")):
            raise SerError(f"{revision!r} names an empty revision; write {WORKSPACE} for the files of the working tree")
    figures = None if options.json is None else _place(Path(options.json))
    comparisons = {}
    for name in [options.dataset] if options.dataset else params.datasets:
        if WORKSPACE in [*options.rev_a.split("+"), *options.rev_b.split("+")]:
            command.check("compare", name, params, ["preprocess", "train", "evaluate"])
        table = _clips(name, options.rev_a.split("+")[0])
        runs, names = [], []
        for run, revision in (("a", options.rev_a), ("b", options.rev_b)):
            answers, title = _predictions(name, revision, table), revision
            if options.knowing_speakers in (run, "both"):
                answers, title = _adapted(answers, table, f"{name} at {revision}"), f"{title}, knowing speakers"
            if options.ensemble in (run, "both"):
                answers, title = predictions.ensemble(predictions.out_of_fold(answers, table)), f"{title}, ensemble"
            runs.append(answers)
            names.append(title)
        comparison = compare(runs[0], runs[1], table, params.evaluate)
        print(markdown(comparison, name, names[0], names[1]))
        comparisons[name] = {"rev_a": names[0], "rev_b": names[1], **comparison.plain()}
    if figures is not None:
        text = json.dumps(comparisons, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        special = figures.exists() and not figures.is_file()  # such as /dev/stdout: nothing can take its place
        with place_named(figures), nullcontext(figures) if special else file_written_whole(figures) as part:
            part.write_text(text, encoding="utf-8")


def _place(path: Path) -> Path:
    """Where the figures go.

    Raises:
        SerError: if nothing can be written there, before the work rather than after it.
    """
    if path.is_dir():
        raise SerError(f"--json {path}: Is a directory; name a file")
    if not path.absolute().parent.is_dir():
        raise SerError(f"--json {path}: there is no folder {path.parent}")
    return path


def _predictions(name: str, revision: str, table: pd.DataFrame) -> pd.DataFrame:
    """Predictions of a run, or the average of runs joined by ``+``."""
    path = Paths(name).predictions
    runs = [predictions.read(io.StringIO(_text(path, name, one)), f"{path} at {one}") for one in revision.split("+")]
    return runs[0] if len(runs) == 1 else predictions.average([predictions.out_of_fold(run, table) for run in runs])


def _adapted(answers: pd.DataFrame, table: pd.DataFrame, where: str) -> pd.DataFrame:
    adapted = speaker_adapted(predictions.out_of_fold(answers, table))
    if adapted is None:
        raise SerError(f"{where}: no speaker has the {FEWEST} test clips that --knowing-speakers needs")
    return adapted


def _clips(name: str, revision: str) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, name)  # named as the corpus, for messages
        folder.mkdir()
        with place_named(folder / "clips.csv"):
            (folder / "clips.csv").write_text(_text(Paths(name).clips / "clips.csv", name, revision), encoding="utf-8")
        return read_table(folder)


def _text(path: Path, name: str, revision: str) -> str:
    """Content of a file of the pipeline at a revision.

    Raises:
        SerError: if it cannot be read; the message names the cause and what to run.
    """
    try:
        if revision == WORKSPACE:
            with regular(path) as file:
                return file.read().decode("utf-8")
        content: bytes = dvc.api.read(str(path), repo=".", rev=revision, mode="rb")
        _check(content, path, name, revision)
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise SerError(f"{path} at {revision} is damaged: it is not text in UTF-8; `dvc repro evaluate@{name}` makes it") from None
    except ImportError as error:  # of a remote whose package is not here
        raise SerError(f"{path} at {revision} is not on this machine, and the remote cannot be asked: {error}") from None
    except (OSError, ValueError, DvcException, SCMError, DataIndexError) as error:
        if revision == WORKSPACE:
            raise SerError(f"{path} is not in the workspace ({error}): `dvc repro evaluate@{name}` makes it") from None
        if (lock := _lock(revision)) is not None and _recorded(path, lock):
            if (kept := _in_cache(path, lock)) is not None:
                return kept.read_text(encoding="utf-8")
            raise SerError(
                f"{path} of {name} at {revision} is not on this machine: dvc.lock records it there, but neither DVC's cache nor a remote "
                f"gave it{_reason(error)}.\n{_remedy(name, revision)}"
            ) from None
        raise SerError(
            f"{path} at {revision} cannot be read: {error}\n"
            f"Is {revision} a git revision or an experiment (dvc exp show) that ran with {name} in `datasets`? "
            f"`dvc exp pull origin {revision}` fetches an experiment that another machine pushed."
        ) from None


def _reason(error: BaseException) -> str:
    """What is behind an error, such as a server that does not answer; nothing where a file is simply not there."""
    while (behind := error.__cause__ or error.__context__) is not None:
        error = behind
    return "" if isinstance(error, FileNotFoundError) else f" ({error})"


def _check(content: bytes, path: Path, name: str, revision: str) -> None:
    """Compare what was read with the hash that dvc.lock has: DVC believes a read-only object of its cache, and a remote.

    Raises:
        SerError: if it is another.
    """
    if (lock := _lock(revision)) is None:
        return
    with _as_file(lock) as there:
        wanted = doctor.recorded(there, path)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if wanted is not None and found != wanted:
        raise SerError(
            f"{path} at {revision} is damaged in DVC's cache or its remote: its MD5 is {found}, and dvc.lock says {wanted}. "
            f"Remove files/md5/{wanted[:2]}/{wanted[2:]} from .dvc/cache; `python -m stages.remote` checks a remote.\n"
            f"{_remedy(name, revision)}"
        )


def _lock(revision: str) -> str | None:
    """dvc.lock at a revision."""
    try:
        return dvc.api.read("dvc.lock", repo=".", rev=revision)
    except (OSError, ValueError, ImportError, DvcException, SCMError):
        return None


def _recorded(path: Path, lock: str) -> bool:
    """Whether a lock file has the file, or the folder above it, among the outputs."""
    return any(f"- path: {one}\n" in lock for one in (path.as_posix(), path.parent.as_posix()))


def _in_cache(path: Path, lock: str) -> Path | None:
    """Where DVC's cache has the file. DVC itself knows no stage of a corpus that a commit records and its `datasets` leave out."""
    with _as_file(lock) as there:
        return doctor.in_cache(there, path)


@contextmanager
def _as_file(lock: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary:
        there = Path(temporary, "dvc.lock")
        with place_named(there):
            there.write_text(lock, encoding="utf-8")
        yield there


def _remedy(name: str, revision: str) -> str:
    """The command that computes the predictions of a revision on this machine."""
    head, commit = _commit("HEAD"), _commit(revision)
    if commit == head:
        reset = "make reset && " if changes.since_commit() else ""
        return (
            f"`{reset}dvc repro evaluate@{name}` makes it. If dvc.lock is modified afterwards, this processor computes slightly "
            "different values: compare with `workspace`, or commit dvc.lock first."
        )
    begin = f"git checkout {revision}" if commit else f"dvc exp apply {revision}"
    return f"`{begin} && dvc repro evaluate@{name}` makes it; commit or stash your changes first."


def _commit(revision: str) -> str | None:
    """The commit that git knows by this name; None for an experiment."""
    done = subprocess.run(["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], capture_output=True, text=True)
    return done.stdout.strip() or None


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("rev_a", metavar="REV_A", help="baseline")
    arguments.add_argument("rev_b", metavar="REV_B", help="compared with the baseline")
    arguments.add_argument("--dataset", metavar="NAME", help="corpus to compare on; default: all in `datasets`")
    arguments.add_argument(
        "--knowing-speakers",
        choices=["a", "b", "both"],
        help="adapt this run's answers to each speaker's unlabelled clips; a protocol of its own",
    )
    arguments.add_argument(
        "--ensemble",
        choices=["a", "b", "both"],
        help="score this run's seed ensemble (mean of the probabilities) instead of the mean of its seeds' scores",
    )
    arguments.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    command.run(arguments, main)
