"""What all stage scripts share: arguments, checked parameters, and errors as one message with status 1."""

from __future__ import annotations

import argparse
import inspect
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ser import SerError
from ser.params import Params, ParamsError, load
from ser.params.corpora import Folder
from ser.runtime import kernels, output, sums
from ser.runtime.locks import claimed
from ser.runtime.machine import launched, of_launcher
from ser.runtime.parent import end_with_dvc
from ser.runtime.reading import DamagedError
from ser.runtime.text import printable_lines
from stages import changes, descent
from stages.ending import in_words, message
from stages.paths import LOCK, SUMS, Paths

LEAVES: dict[str, Callable[[Paths], list[Path]]] = {
    "download": lambda paths: [paths.raw],
    "preprocess": lambda paths: [paths.clips],
    "split": lambda paths: [paths.assignment, paths.folds],
    "features": lambda paths: [paths.features],
    "encode": lambda paths: [paths.encoded],
    "train": lambda paths: [paths.models],
    "evaluate": lambda paths: [paths.predictions, paths.examples, paths.result, paths.plots],
}
"""What each stage leaves for others."""
READS = {
    "preprocess": ("download",),
    "split": ("preprocess",),
    "features": ("preprocess",),
    "encode": ("preprocess",),
    "train": ("preprocess", "split", "features", "encode"),
    "evaluate": ("preprocess", "split", "features", "encode", "train"),
    "export": ("preprocess", "encode", "train", "evaluate"),
    "report": ("preprocess", "train", "evaluate"),
    "search": ("preprocess", "split", "features", "encode"),
    "show": ("download",),
}
"""Stages whose files each stage, and each command beside them, reads; they are compared with their checksums first."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Argument parser with ``--dataset``. A stage adds its own options before ``run``."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--dataset", required=True, metavar="NAME", help="corpus to work on, a key of `corpora` in params.yaml")
    return made


def say_changes() -> None:
    """Say on stderr which parameters differ from the last commit: an earlier experiment may have left them so."""
    if said := changes.line():
        print(said, file=sys.stderr)


def run(arguments: argparse.ArgumentParser, stage: Callable[[Params, argparse.Namespace], None]) -> None:
    """Parse the command line, check all of params.yaml before any work, run the stage.

    It ends as ``in_words`` says, and with status 143 on SIGTERM.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that partial folders and worker processes are cleared away
    end_with_dvc()
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    options = arguments.parse_args()
    with in_words():
        try:
            kernels.check()
            params = load()
            name = getattr(options, "dataset", None)
            if name is not None and name not in params.corpora:
                raise SerError(f"--dataset {name}: not a corpus in params.yaml; known: {', '.join(params.corpora)}")
            with _checked(Path(inspect.getfile(stage)).stem, params, [name] if name is not None else _own(params, stage)):
                stage(params, options)
                output.flush()
        except ParamsError as error:
            sys.exit("\n".join(filter(None, [message(error), changes.line()])))


class _Printable(logging.Formatter):
    """The message alone; names from archives and tables must not command the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


@contextmanager
def _checked(stage: str, params: Params, corpora: Sequence[str]) -> Iterator[None]:
    """Compare what a stage reads with the checksums and notes that other stages left; afterwards leave its own.

    The records are no outputs: DVC neither tracks nor restores them. Where DVC has brought back other files, its own hashes decide.

    Args:
        stage: name of the module; nothing is done for one that reads and leaves nothing.
        params: of this run.
        corpora: of this run.

    Raises:
        SerError: as in ``check``, or if another process runs the stage for one of the corpora.
    """
    one_of_many = stage == "train" and launched() and of_launcher("RANK", 0) != 0  # the first rank writes
    leaves = stage in LEAVES and not one_of_many
    seen: dict[str, dict[str, str]] = {}
    with ExitStack() as claims:
        for corpus in corpora:
            seen[corpus] = check(stage, corpus, params, READS.get(stage, ()))
            if leaves:
                claims.enter_context(_alone(stage, corpus))
        yield  # if it ends early, the records are still those of the files that it has not touched
        if leaves:
            for corpus in corpora:
                record, content = _record(stage, corpus), sums.of(LEAVES[stage](Paths(corpus)))
                descent.note(record, content, stage, corpus, params, seen[corpus])
                sums.leave(record, content)


@contextmanager
def _alone(stage: str, corpus: str) -> Iterator[None]:
    """No second process runs the stage for the corpus meanwhile: each would leave a part of the files.

    Raises:
        SerError: if another process does already.
    """
    claim = _record(stage, corpus).with_name(f".{stage}")
    claim.parent.mkdir(parents=True, exist_ok=True)
    with claimed(claim, LEAVES[stage](Paths(corpus))[0], folder=False):
        yield
        claim.unlink()


def check(reader: str, corpus: str, params: Params, writers: Iterable[str]) -> dict[str, str]:
    """Compare what stages left of a corpus with the checksums and notes that they left beside.

    Args:
        reader: the stage or command that is about to read.
        corpus: its corpus.
        params: of this run.
        writers: the stages.

    Returns:
        Digest of each stage whose files are as it left them; not of those of which nothing is noted, or whose files DVC brought back.

    Raises:
        ser.runtime.reading.DamagedError: if a file is not as its stage left it.
        SerError: if files were made of others than there are now, or with other parameters (``stages.descent``).
    """
    records = {writer: _record(writer, corpus) for writer in writers}
    seen = {}
    for writer, record in records.items():
        as_left = sums.check(record, writer, corpus, _restored)
        if as_left:
            seen[writer] = descent.digest(record)
        elif as_left is None:
            _as_locked(writer, corpus)
    descent.compare(reader, corpus, params, records, seen)
    return seen


def _own(params: Params, stage: Callable[..., None]) -> list[str]:
    """Corpora that a stage without ``--dataset`` works on: ``download --changed`` packs own recordings alone."""
    packs = Path(inspect.getfile(stage)).stem == "download"
    return [name for name in params.datasets if not packs or isinstance(params.corpora[name].source, Folder)]


def _record(stage: str, corpus: str) -> Path:
    return SUMS / corpus / f"{stage}.json"


def _as_locked(writer: str, corpus: str) -> None:
    """Hold files against dvc.lock where no stage has left a record: git or DVC brought them here.

    Raises:
        ser.runtime.reading.DamagedError: if one is another.
    """
    if not LOCK.exists() or not any(place.exists() for place in LEAVES[writer](Paths(corpus))):
        return
    from stages import doctor  # DVC, which takes a second to import

    if (path := doctor.different(f"{writer}@{corpus}", LOCK)) is not None:
        raise DamagedError(path, writer, corpus, "its MD5 is not the one in dvc.lock")


def _restored(paths: list[Path]) -> set[Path]:
    """Those of the files that dvc.lock knows with these bytes, as after ``dvc checkout`` or ``dvc exp apply``."""
    from stages import doctor  # DVC, which takes a second to import

    return doctor.locked(paths)
