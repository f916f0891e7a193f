"""Report: all results as one self-contained page, reports/index.html.

Reads metrics/ (also committed results of corpora outside `datasets`), data/examples,
data/clips/NAME/rejected.csv and params.yaml.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ser import SerError
from ser.evaluation import examples, result, tables
from ser.params import Params
from ser.params.corpora import Synthetic
from ser.report import page
from ser.runtime.provenance import provenance
from ser.runtime.reading import read_csv
from ser.signal.clips import REJECTED
from stages import command
from stages.paths import LOCK, METRICS, REPORT, Paths, needed, write

log = logging.getLogger(__name__)

MADE = REPORT.with_name("made.json")
"""Revision, machine and libraries. No output of the stage: DVC would see another page at every commit and on every machine."""


def main(params: Params, options: argparse.Namespace) -> None:
    """Write the page for all corpora that have metrics, those of this run first."""
    if options.scores:
        print(scores(params))
        command.say_changes()
        return
    for name in params.datasets:
        needed(Paths(name).result, f"evaluate@{name}")
    names = [*params.datasets, *(name for name in params.corpora if name not in params.datasets)]
    there = [name for name in names if Paths(name).result.exists()]
    for name in there:
        if name not in params.datasets:
            _check_committed(name)
    corpora = [_corpus(name, params, options.audio) for name in there]
    missing = [name for name in names if name not in there]
    rendered = page.render(corpora, missing, Path("params.yaml").read_text(encoding="utf-8"))
    write(REPORT, rendered)
    write(MADE, json.dumps(asdict(provenance()), indent=1) + "\n")
    log.info("%s: %s (%.1f MB)", REPORT, ", ".join(there), len(rendered.encode()) / 1e6)
    command.say_changes()


def scores(params: Params) -> str:
    """One line for each corpus of this run, and the path of the report."""
    lines = [f"{name:<12} {result.read(Paths(name).result).line()}" for name in params.datasets]
    return "\n".join([*lines, f"report: {REPORT.resolve()}"])


def _check_committed(name: str) -> None:
    """Compare the committed results of a corpus that this run leaves alone with dvc.lock.

    Raises:
        SerError: if they are others.
    """
    if not LOCK.exists():
        return
    from stages import doctor  # DVC, which takes a second to import

    if (path := doctor.different(f"evaluate@{name}", LOCK, METRICS)) is not None:
        raise SerError(
            f"{path} is damaged or of another run: its MD5 is not the one in dvc.lock; `git checkout dvc.lock {METRICS}` brings back the "
            f"last commit's, or add {name} to `datasets` and `dvc repro`"
        )


def _corpus(name: str, params: Params, audio: bool) -> page.Corpus:
    paths, active = Paths(name), name in params.datasets
    rejected = paths.clips / "rejected.csv"
    return page.Corpus(
        name=name,
        result=result.read(paths.result),
        tables={path.stem: tables.read(path, name) for path in map(paths.plots.joinpath, ("loss.csv", "reliability.csv")) if path.exists()},
        # data/ belongs to this run; beside a committed result it may hold anything.
        examples=examples.read(paths.examples) if active and paths.examples.exists() else [],
        rejected=_rejected(rejected, name) if active and rejected.exists() else page.NONE_REJECTED,
        committed=not active,
        audio=audio or isinstance(params.corpora[name].source, Synthetic),
    )


def _rejected(path: Path, name: str) -> pd.DataFrame:
    return read_csv(path, "preprocess", name, dict.fromkeys(REJECTED, "str"))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--audio", action="store_true", help="embed the sound of the examples for every corpus; check the licence of each corpus first"
    )
    arguments.add_argument(
        "--scores", action="store_true", help="only print the scores of the corpora in `datasets` and the path of the report"
    )
    command.run(arguments, main)
