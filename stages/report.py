"""All results as one self-contained page: reports/index.html.

Reads metrics/ (committed results of corpora outside `datasets` too), data/examples, data/clips/<corpus>/rejected.csv and params.yaml.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import pandas as pd

from benchmarks.record import circumstances
from ser import SerError
from ser.evaluation import examples
from ser.params import Params
from ser.params.corpora import Synthetic
from ser.report import page
from stages import command

log = logging.getLogger(__name__)


def main(params: Params, options: argparse.Namespace) -> None:
    """Write the page for all corpora that have metrics, those of this run first."""
    if options.scores:
        print(scores(params))
        return
    names = [*params.datasets, *(name for name in params.corpora if name not in params.datasets)]
    there = [name for name in names if Path("metrics/corpora", f"{name}.json").exists()]
    for name in params.datasets:
        if name not in there:
            raise SerError(f"metrics/corpora/{name}.json not found: run `dvc repro evaluate@{name}` first")
    results = [_result(name, params, options.audio) for name in there]
    missing = [name for name in names if name not in there]
    rendered = page.render(results, missing, Path("params.yaml").read_text(encoding="utf-8"), circumstances())
    out = Path("reports/index.html")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(rendered, encoding="utf-8")
    log.info("%s: %s (%.1f MB)", out, ", ".join(there), len(rendered.encode()) / 1e6)


def scores(params: Params) -> str:
    """One line per corpus of this run: what a person wants to know first."""
    lines = []
    for name in params.datasets:
        metrics = json.loads(Path("metrics/corpora", f"{name}.json").read_text(encoding="utf-8"))
        interval = " [{:.1%}, {:.1%}]".format(*metrics["ci"]["ua"]) if metrics["ci"]["ua"] else ""
        score = f"UA {metrics['ua']:.1%}{interval}, WA {metrics['wa']:.1%}, chance {metrics['baselines']['chance']['ua']:.1%}"
        notice = f"; {metrics['notice']}" if "notice" in metrics else ""
        lines.append(f"{name:<12} {score}; {metrics['n']} clips, protocol {metrics['protocol']}{notice}")
    return "\n".join([*lines, f"report: {Path('reports/index.html').resolve()}"])


def _result(name: str, params: Params, audio: bool) -> page.Result:
    active = name in params.datasets
    metrics = json.loads(Path("metrics/corpora", f"{name}.json").read_text(encoding="utf-8"))
    tables = {path.stem: pd.read_csv(path) for path in sorted(Path("metrics/plots", name).glob("*.csv"))}
    shown, rejected = Path("data/examples", f"{name}.npz"), Path("data/clips", name, "rejected.csv")
    # What lies in data/ belongs to this run; beside a committed result it could be anything.
    extra = {}
    if active and rejected.exists():
        extra["rejected"] = pd.read_csv(rejected, dtype=str, keep_default_na=False)
    return page.Result(
        name=name,
        metrics=metrics,
        tables=tables,
        examples=examples.read(shown) if active and shown.exists() else [],
        committed=not active,
        audio=audio or isinstance(params.corpora[name].source, Synthetic),
        **extra,
    )


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--audio", action="store_true", help="put the examples' sound into the page for every corpus; check the corpus' licence first"
    )
    arguments.add_argument(
        "--scores", action="store_true", help="print the scores of the corpora in `datasets` and where the report is, nothing else"
    )
    command.run(arguments, main)
