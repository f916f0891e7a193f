"""Where the files of a corpus lie, relative to the root of the repository; dvc.yaml names the same places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ser import SerError
from ser.runtime.disk import check_room, file_written_whole, place_named
from ser.runtime.text import run_first

RAW = Path("data/raw")
"""Folder of the archives of all corpora."""
SUMS = Path("data/sums")
"""Folder of the checksums that stages leave beside their files, by corpus. They are no outputs: DVC neither tracks nor restores them."""
METRICS = Path("metrics")
"""Folder of all results, which git tracks."""
LOCK = Path("dvc.lock")
REPORT = Path("reports/index.html")
"""The page about all corpora."""


@dataclass(frozen=True)
class Paths:
    """Files and folders of one corpus.

    Attributes:
        corpus: its name.
    """

    corpus: str

    @property
    def raw(self) -> Path:
        """Folder of the archives and source.json."""
        return RAW / self.corpus

    @property
    def clips(self) -> Path:
        """Folder of the clips: audio.npy, clips.csv, rejected.csv, summary.json."""
        return Path("data/clips", self.corpus)

    @property
    def features(self) -> Path:
        """Folder of the features."""
        return Path("data/features", self.corpus)

    @property
    def encoded(self) -> Path:
        """Folder of the hidden states."""
        return Path("data/encoded", self.corpus)

    @property
    def assignment(self) -> Path:
        """Which clip is in which part of which fold."""
        return Path("data/folds", f"{self.corpus}.csv")

    @property
    def folds(self) -> Path:
        """Protocol and leaks of the folds."""
        return Path("data/folds", f"{self.corpus}.json")

    @property
    def models(self) -> Path:
        """Folder of the trained networks."""
        return Path("models", self.corpus)

    @property
    def log(self) -> Path:
        """The last training, epoch by epoch. It contains times, so it is not an output of the pipeline."""
        return Path("models", f"{self.corpus}.log")

    @property
    def predictions(self) -> Path:
        """Probabilities of validation and test clips."""
        return Path("data/predictions", f"{self.corpus}.csv")

    @property
    def examples(self) -> Path:
        """Clips that the report shows."""
        return Path("data/examples", f"{self.corpus}.npz")

    @property
    def result(self) -> Path:
        """The metrics file."""
        return Path("metrics/corpora", f"{self.corpus}.json")

    @property
    def plots(self) -> Path:
        """Folder of the tables behind the plots."""
        return Path("metrics/plots", self.corpus)

    @property
    def export(self) -> Path:
        """Folder of the exported bundle."""
        return Path("exports", self.corpus)


def needed(path: Path, *stages: str) -> Path:
    """The path itself, if it exists.

    Args:
        path: what an earlier stage makes.
        stages: what makes it, as ``dvc repro`` takes it, e.g. ``split@demo``.

    Raises:
        SerError: if it does not exist; the message says what to run.
    """
    if not path.exists():
        raise SerError(run_first(path, *stages))
    return path


def write(path: Path, text: str) -> None:
    """Write a text file, with the folders above it. A file of that name is whole, also after an error.

    Raises:
        SerError: if the disk has too little space.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    check_room(path.parent, len(text.encode()))
    with place_named(path), file_written_whole(path) as part:
        part.write_text(text, encoding="utf-8")
