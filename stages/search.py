"""Search for better parameters of `model` and `train` with Optuna: many trials of the same training, beside the pipeline.

A trial's score is the UA on the validation clips, mean over the folds. Test clips are never used: choose on validation, then report on
test once, with the `dvc exp run` line that is printed at the end. Reads data/features, data/clips and data/folds as `dvc repro` left them.

The same command again goes on with the search after Ctrl-C or a crash; in further shells it uses further cores. docs/search.md has more.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ser import SerError
from ser.params import Params
from ser.runtime.machine import cache_dir, passive_waiting
from ser.runtime.text import markdown_table, percent
from stages import command, preset

if TYPE_CHECKING:
    from optuna import Study

    from ser.search.study import Outcome
    from ser.search.trials import Search

ROWS = 10
"""Trials in the table of the best."""


def main(params: Params, options: argparse.Namespace) -> None:
    """Work on a search, then show its best trials."""
    passive_waiting()
    try:
        from ser.search import study
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise SerError("the search needs an optional package: pip install 'optuna>=5'") from None

    name = options.name or options.dataset
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise SerError(f"--name {name}: letters, digits, dots, dashes and underscores only, for it becomes a folder")
    folder = cache_dir(params.runtime) / "search" / name
    found = study.find(folder) if options.show else _searched(_asked(params, options, folder), options.trials)
    _show(study.outcomes(found), study.importances(found), params, options.dataset)


def _asked(params: Params, options: argparse.Namespace, folder: Path) -> Search:
    """What the command line asks for, if the stages before training have run."""
    from ser.search import space, trials

    if options.space is None:
        raise SerError("--space FILE is needed: which keys to search; docs/search-space.yaml is an example")
    axes = space.read(options.space, params)
    corpus = options.dataset
    paths = Path("data/features", corpus), Path("data/clips", corpus), Path("data/folds", f"{corpus}.csv")
    for path in (paths[0] / "offsets.npy", paths[1] / "clips.csv", paths[2]):
        if not path.exists():
            raise SerError(f"{path} not found: run `dvc repro features@{corpus} split@{corpus}` first")
    there = trials.folds_there_are(paths[2])
    folds = sorted(set(options.folds or there))
    if missing := sorted(set(folds) - set(there)):
        raise SerError(f"--folds {missing[0]}: {paths[2]} has the folds {', '.join(map(str, there))}")
    return trials.Search(folder, corpus, *paths, params, axes, folds, options.seed)


def _searched(search: Search, count: int) -> Study:
    """Work on a search until it has ``count`` trials."""
    from ser.search import study, trials

    opened = trials.begin(search)
    print(f"search {search.folder.name!r} in {search.folder}: {len(search.space)} keys, folds {', '.join(map(str, search.folds))}")
    with tqdm(total=count, unit="trial", desc="search") as bar:

        def count_all() -> None:
            """Trials of other processes move the bar too."""
            bar.n = sum(one.state != "running" for one in study.outcomes(opened))
            bar.refresh()

        def started(number: int, doing: str) -> None:
            bar.set_postfix_str(f"trial {number}: {doing}", refresh=False)
            count_all()

        def finished(outcome: Outcome) -> None:
            tqdm.write(line(outcome))
            count_all()

        trials.run(search, opened, count, started, finished)
        count_all()
    _warn(trials.validated_test_share(search.assignment, search.folds))
    return opened


def _warn(share: float) -> None:
    if share:
        print(
            f"\nNote: {percent(share, 0)}% of these validation clips are test clips of another fold. A score over all folds with the "
            "values found here is\na little too good; docs/search.md shows the strict way (one fold for both)."
        )


def line(outcome: Outcome) -> str:
    """A trial in one line."""
    score = f"UA {percent(outcome.ua):>5}  " if outcome.ua is not None else ""
    note = f"  ({outcome.note})" if outcome.note else ""
    return f"trial {outcome.number}: {score}{outcome.state:<8}  {' '.join(_pairs(outcome.chosen))}{note}"


def table(outcomes: list[Outcome]) -> str:
    """The best trials as a Markdown table: UA in per cent, its folds, and every searched key."""
    best = outcomes[:ROWS]
    keys = sorted({key for one in best for key in one.chosen})
    folds = sorted({fold for one in best for fold in one.fold_ua})
    head = ["trial", "UA", *(f"fold {fold}" for fold in folds), "", *keys]
    rows = [
        [
            str(one.number),
            _percent(one.ua),
            *(_percent(one.fold_ua.get(fold)) for fold in folds),
            one.note if one.state == "finished" else one.state,
            *(preset.literal(one.chosen[key]) if key in one.chosen else "" for key in keys),
        ]
        for one in best
    ]
    return markdown_table(head, rows)


def experiment(chosen: dict[str, Any], params: Params, corpus: str) -> str:
    """The command that trains and tests a trial's parameters in the pipeline, safe to paste into a shell."""
    words = _pairs(chosen)
    if corpus not in params.datasets:
        words.insert(0, f"datasets=[{','.join([*params.datasets, corpus])}]")
    return "dvc exp run " + " ".join(f"-S {shlex.quote(word)}" for word in words)


def _show(outcomes: list[Outcome], importances: dict[str, float], params: Params, corpus: str) -> None:
    counts = {state: sum(one.state == state for one in outcomes) for state in ("finished", "pruned", "refused", "running")}
    print(
        f"\n{len(outcomes)} trials: {', '.join(f'{count} {state}' for state, count in counts.items() if count)}. UA on validation clips:\n"
    )
    if not counts["finished"]:
        notes = [one.note for one in outcomes if one.state == "refused"]
        raise SerError("no trial was finished" + (f"; the last refused one: {notes[-1]}" if notes else ""))
    print(table(outcomes))
    if importances:
        shares = ", ".join(f"{key} {percent(share, 0)}%" for key, share in importances.items())
        print(f"\nWhat sets the best tenth apart: {shares}")
    print(f"\nThe best, to be tested once:\n\n{experiment(outcomes[0].chosen, params, corpus)}")


def _percent(share: float | None) -> str:
    return "" if share is None else percent(share)


def _pairs(chosen: dict[str, Any]) -> list[str]:
    return [f"{key}={preset.literal(value)}" for key, value in chosen.items()]


def _at_least(lowest: int) -> Callable[[str], int]:
    """Reads a whole number of the command line, not below ``lowest``."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]+", text) or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"found {text}, needed is a whole number from {lowest}")
        return int(text)

    return read


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--space", metavar="FILE", help="YAML file of keys to search; docs/search-space.yaml is an example")
    parser.add_argument("--trials", type=_at_least(1), default=50, metavar="N", help="trials that the search has in the end (default: 50)")
    parser.add_argument("--folds", type=int, nargs="+", metavar="FOLD", help="folds whose validation clips judge (default: all)")
    parser.add_argument("--seed", type=_at_least(0), default=0, help="seed of the draws (default: 0); seeds of training are train.seeds")
    parser.add_argument("--name", help="name of the search (default: that of the corpus); another one begins another search")
    parser.add_argument("--show", action="store_true", help="only show the best trials so far")
    return parser


if __name__ == "__main__":
    command.run(arguments(), main)
