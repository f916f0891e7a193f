"""Compare two runs clip by clip: is the second better than the first, or is it chance?

REV_A and REV_B are git revisions, names of DVC experiments, or `workspace` for the files that lie here. Their predictions come from DVC's
cache (`dvc pull` fetches what another machine computed). Markdown goes to the screen.

    python -m stages.compare HEAD workspace
    python -m stages.compare main concat --dataset ravdess --json comparison.json
    python -m stages.compare main main --knowing-speakers b     # what is it worth to know the speaker's other clips?
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import tempfile
from pathlib import Path

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from dvc.scm import SCMError

from ser import SerError
from ser.evaluation import predictions
from ser.evaluation.adaptation import FEWEST, knowing_speakers
from ser.evaluation.comparison import compare, markdown
from ser.evaluation.scoring import rounded
from ser.params import Params
from ser.signal.clips import read_table
from stages import command

WORKSPACE = "workspace"


def main(params: Params, options: argparse.Namespace) -> None:
    """Print the comparison of each corpus, write all of them where ``--json`` says."""
    logging.getLogger("dvc").setLevel(logging.ERROR)
    found = {}
    for name in [options.dataset] if options.dataset else params.datasets:
        table = _clips(name, options.rev_a)
        runs, names = [], []
        for run, revision in (("a", options.rev_a), ("b", options.rev_b)):
            answers, title = _predictions(name, revision), revision
            if options.knowing_speakers in (run, "both"):
                answers, title = _knowing(answers, table, f"{name} at {revision}"), f"{title}, knowing speakers"
            if options.ensemble in (run, "both"):
                answers, title = predictions.ensemble(predictions.out_of_fold(answers, table)), f"{title}, ensemble"
            runs.append(answers)
            names.append(title)
        result = compare(runs[0], runs[1], table, params.evaluate)
        print(markdown(result, name, names[0], names[1]))
        found[name] = {"rev_a": names[0], "rev_b": names[1], **rounded(result, digits=None)}
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _predictions(name: str, revision: str) -> pd.DataFrame:
    path = f"data/predictions/{name}.csv"
    return predictions.read(io.StringIO(_text(path, name, revision)), f"{path} at {revision}")


def _knowing(answers: pd.DataFrame, table: pd.DataFrame, where: str) -> pd.DataFrame:
    found = knowing_speakers(predictions.out_of_fold(answers, table))
    if found is None:
        raise SerError(f"{where}: no speaker has the {FEWEST} test clips that --knowing-speakers needs")
    return found


def _clips(name: str, revision: str) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "clips.csv").write_text(_text(f"data/clips/{name}/clips.csv", name, revision), encoding="utf-8")
        return read_table(folder)


def _text(path: str, name: str, revision: str) -> str:
    """Content of a file of the pipeline at a revision."""
    try:
        if revision == WORKSPACE:
            return Path(path).read_text(encoding="utf-8")
        return dvc.api.read(path, repo=".", rev=revision)
    except (OSError, DvcException, SCMError) as error:
        where = "in the workspace" if revision == WORKSPACE else f"at {revision}"
        raise SerError(
            f"{path} {where} cannot be read: {error}\n"
            f"Is {revision} a git revision or an experiment (dvc exp show) that ran with {name} in `datasets`? "
            "What another machine computed comes with `dvc pull` or `dvc exp pull`."
        ) from None


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("rev_a", metavar="REV_A", help="what to compare with")
    arguments.add_argument("rev_b", metavar="REV_B", help="what is compared")
    arguments.add_argument("--dataset", metavar="NAME", help="corpus to compare on; default: all in `datasets`")
    arguments.add_argument(
        "--knowing-speakers",
        choices=["a", "b", "both"],
        help="centre this run's answers on each speaker's clips; another protocol",
    )
    arguments.add_argument(
        "--ensemble",
        choices=["a", "b", "both"],
        help="judge this run by the mean of its seeds' probabilities instead of by the mean of their scores",
    )
    arguments.add_argument("--json", metavar="FILE", help="write the figures to this file too")
    command.run(arguments, main)
