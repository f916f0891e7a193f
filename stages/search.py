"""Search for better parameters of `model` and `train` with Optuna, by many trials beside the pipeline.

A trial's score is the UA on the validation clips, averaged over the folds. Test clips are never used: choose
on validation, then report on test once, with the `dvc exp run` line that is printed at the end. Reads
data/features, data/clips and data/folds as `dvc repro` left them.

After Ctrl-C or a crash, the same command resumes the search. Run it in more shells to use more cores. See
docs/search.md.
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
from ser.runtime import kernels
from ser.runtime.machine import cache_dir, passive_waiting
from ser.runtime.text import markdown_table, percent
from stages import command, preset
from stages.paths import Paths, needed

if TYPE_CHECKING:
    from optuna import Study

    from ser.search.study import Outcome
    from ser.search.trials import Search

ROWS = 10
"""Rows of the table of the best trials."""


def main(params: Params, options: argparse.Namespace) -> None:
    """Run a search, then print its best trials."""
    passive_waiting()
    kernels.choose(params.train.kernels)
    try:
        from ser.search import study
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise SerError("the search needs an optional package: pip install 'optuna>=5'") from None

    name = options.name or options.dataset
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise SerError(f"--name {name}: letters, digits, dots, dashes and underscores only, because it names a folder")
    folder = cache_dir(params.runtime) / "search" / name
    with study.named(folder):
        searched = study.find(folder) if options.show else _searched(_asked(params, options, folder), options.trials)
        _show(study.outcomes(searched), study.importances(searched), params, options.dataset)


def _asked(params: Params, options: argparse.Namespace, folder: Path) -> Search:
    """The search that the command line describes.

    Raises:
        SerError: if a stage before training has not run, or an option is wrong.
    """
    from ser.search import space, trials

    if options.space is None:
        raise SerError("--space FILE is needed: it names the keys to search; docs/search-space.yaml is an example")
    axes = space.read(options.space, params)
    corpus, paths = options.dataset, Paths(options.dataset)
    for path in (paths.features / "offsets.npy", paths.clips / "clips.csv", paths.assignment):
        needed(path, f"features@{corpus}", f"split@{corpus}")
    there = trials.folds_there_are(paths.assignment)
    folds = sorted(set(options.folds or there))
    if missing := sorted(set(folds) - set(there)):
        raise SerError(f"--folds {missing[0]}: {paths.assignment} has the folds {', '.join(map(str, there))}")
    return trials.Search(folder, corpus, paths.features, paths.clips, paths.assignment, params, axes, folds, options.seed, paths.encoded)


def _searched(search: Search, count: int) -> Study:
    """Run trials until the search has ``count`` of them."""
    from ser.search import study, trials

    opened = trials.begin(search)
    print(f"search {search.folder.name!r} in {search.folder}: {len(search.space)} keys, folds {', '.join(map(str, search.folds))}")
    with tqdm(total=count, unit="trial", desc="search") as bar:

        def count_all() -> None:
            """Count the trials of other processes too."""
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
            f"\nNote: {percent(share, 0)}% of these validation clips are test clips of another fold, so a score over all folds with "
            "these values is\nslightly too good. docs/search.md shows the strict way: one fold for both."
        )


def line(outcome: Outcome) -> str:
    """A trial in one line."""
    score = f"UA {percent(outcome.ua):>5}  " if outcome.ua is not None else ""
    note = f"  ({outcome.note})" if outcome.note else ""
    return f"trial {outcome.number}: {score}{outcome.state:<8}  {' '.join(_pairs(outcome.chosen))}{note}"


def table(outcomes: list[Outcome]) -> str:
    """The best trials as a Markdown table: UA in per cent, UA of each fold, and every searched key."""
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
        raise SerError("no trial finished" + (f"; the last refused one: {notes[-1]}" if notes else ""))
    print(table(outcomes))
    if importances:
        shares = ", ".join(f"{key} {percent(share, 0)}%" for key, share in importances.items())
        print(f"\nKeys that distinguish the best tenth: {shares}")
    print(f"\nTest the best one once:\n\n{experiment(outcomes[0].chosen, params, corpus)}")


def _percent(share: float | None) -> str:
    return "" if share is None else percent(share)


def _pairs(chosen: dict[str, Any]) -> list[str]:
    return [f"{key}={preset.literal(value)}" for key, value in chosen.items()]


def _at_least(lowest: int) -> Callable[[str], int]:
    """A parser of whole numbers on the command line, from ``lowest``."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]+", text) or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"found {text}; expected a whole number from {lowest}")
        return int(text)

    return read


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--space", metavar="FILE", help="YAML file of keys to search; docs/search-space.yaml is an example")
    parser.add_argument("--trials", type=_at_least(1), default=50, metavar="N", help="total number of trials (default: 50)")
    parser.add_argument("--folds", type=int, nargs="+", metavar="FOLD", help="folds whose validation clips give the score (default: all)")
    parser.add_argument("--seed", type=_at_least(0), default=0, help="seed of the draws (default: 0); seeds of training are train.seeds")
    parser.add_argument("--name", help="name of the search (default: the corpus); another name begins another search")
    parser.add_argument("--show", action="store_true", help="only print the best trials so far")
    return parser


if __name__ == "__main__":
    command.run(arguments(), main)
