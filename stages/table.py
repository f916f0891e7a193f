"""All results side by side, as a table that fits a terminal: the last commit, the workspace and the experiments.

Each row names what the run changed, its corpus and its protocol, without which a score cannot be read.

    python -m stages.table
    python -m stages.table --dataset ravdess
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ser import SerError
from ser.evaluation import metrics, result
from ser.evaluation.result import Result, parameter_lines
from ser.params import Params, ParamsError, parse, plain
from ser.runtime.text import UNKNOWN, markdown_table, percent
from stages import command
from stages.changes import FILE, changed, named

METRICS = Path("metrics/corpora")
NAMED = 3
"""Changed keys that a row names; the rest are counted."""
EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)")
"""Where DVC keeps an experiment: after the commit that it started from."""


@dataclass(frozen=True)
class Run:
    """What one run left behind.

    Attributes:
        name: shown in the first column.
        params: content of its params.yaml.
        results: text of each metrics file, by corpus; or why it must not be read.
        whole: whether results of corpora outside its ``datasets`` are listed; those of an experiment are copies of a commit's.
    """

    name: str
    params: bytes
    results: dict[str, str | SerError]
    whole: bool


def main(params: Params, options: argparse.Namespace) -> None:
    """Print the table, and below it the notices that must stand beside a number."""
    print(table(list(runs(params)), options.dataset))


def runs(params: Params) -> Iterator[Run]:
    """The last commit, the workspace with these parameters, then the experiments, the newest last."""
    if committed := _at("HEAD", str(FILE)):
        yield Run("HEAD", committed, _results("HEAD"), whole=True)
    here = {path.stem: _checked(path, params) for path in sorted(METRICS.glob("*.json"))}
    yield Run("workspace", FILE.read_bytes(), here, whole=False)
    for reference in _text(_git("for-each-ref", "--sort=committerdate", "--format=%(refname)", "refs/exps")).splitlines():
        if found := EXPERIMENT.fullmatch(reference):
            yield Run(found.group(1), _at(reference, str(FILE)), _results(reference), whole=False)


def table(found: list[Run], dataset: str | None = None) -> str:
    """The runs in Markdown.

    Args:
        found: from ``runs``; what changed is counted from the first.
        dataset: list this corpus only.
    """
    head = ["experiment", "changed", "corpus", "protocol", "n", "UA %", "interval", "WA %"]
    rows: list[list[str]] = []
    notices: dict[str, None] = {}
    for run in found:
        try:
            params = parse(plain(run.params, str(FILE)), str(FILE))
        except ParamsError:
            rows.append([run.name, "params.yaml cannot be used", *[UNKNOWN] * 6])
            continue
        difference = changed(run.params, found[0].params)
        for corpus, text in run.results.items():
            if (corpus in params.datasets or run.whole) and dataset in (None, corpus):
                cells, notice = _row(corpus, text, params)
                rows.append([run.name, ", ".join(named(difference, NAMED)) or "nothing", *cells])
                notices |= dict.fromkeys(filter(None, [notice]))
    if not rows:
        return f"no results yet{f' of {dataset}' if dataset else ''}: `make repro` makes those of the corpora in `datasets`"
    return "\n".join([markdown_table(head, rows, right=(4, 5, 7)), *("\n" + notice for notice in notices)])


def _row(corpus: str, text: str | SerError, params: Params) -> tuple[list[str], str | None]:
    """Cells from the corpus on, and a notice."""
    try:
        if isinstance(text, SerError):
            raise text
        one = result.parse(text, f"{METRICS}/{corpus}.json", corpus)
    except SerError as error:
        return [corpus, *[UNKNOWN] * 5], str(error)
    limits = one.ci.limits[metrics.HEADLINE]
    between = f"{percent(limits[0])} … {percent(limits[1])}" if limits else "one speaker: none"
    cells = [corpus, one.protocol, str(one.n), percent(one.headline), between, percent(one.scores["wa"])]
    if _outdated(one, params):
        cells[3:] = [UNKNOWN, "not run with these settings yet", UNKNOWN]
    return cells, f"{corpus}: {one.notice}" if one.notice else None


def _outdated(one: Result, params: Params) -> bool:
    """Whether the networks were made with other values than params.yaml has; keys that only one of them knows do not count."""
    now = _pairs(parameter_lines({key: getattr(params, key) for key in ("preprocess", "features", "model", "train")}))
    then = _pairs(one.parameters or [])
    return any(now[key] != then[key] for key in now.keys() & then.keys())


def _pairs(lines: list[str]) -> dict[str, str]:
    return {key: value for key, _, value in (line.partition(" = ") for line in lines)}


def _results(revision: str) -> dict[str, str | SerError]:
    """Text of each metrics file at a revision, by corpus."""
    paths = [PurePosixPath(path) for path in _text(_git("ls-tree", "--name-only", revision, f"{METRICS}/")).splitlines()]
    return {path.stem: _text(_at(revision, str(path))) for path in paths if path.suffix == ".json"}


def _checked(path: Path, params: Params) -> str | SerError:
    """Text of a metrics file of the workspace, or that it is not as evaluate left it."""
    try:
        command.check("table", path.stem, params, ["train", "evaluate"])
        return result.content(path)
    except SerError as error:
        return error


def _at(revision: str, path: str) -> bytes:
    """A file's content at a revision; empty if it is not there."""
    return _git("show", f"{revision}:./{path}")


def _git(*words: str) -> bytes:
    """What git prints; empty if it fails, e.g. outside a repository."""
    done = subprocess.run(["git", *words], capture_output=True)
    return done.stdout if done.returncode == 0 else b""


def _text(content: bytes) -> str:
    """UTF-8; what is none is replaced, so that whoever reads the text says which file it was."""
    return content.decode("utf-8", errors="replace")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dataset", metavar="NAME", help="list this corpus only; default: all")
    command.run(arguments, main)
