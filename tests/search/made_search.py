"""A search on the made corpus, and trainings that are a formula instead of a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from ser.params import Params
from ser.search import study, trials
from ser.search.space import Axis, put
from ser.search.study import Outcome
from ser.splits.assignment import PARTS
from tests import made
from tests.training.test_batches import write

LR = Axis("train.lr", "log", (1e-4, 1e-2))
DIM = Axis("model.dim", "choose", (16, 32))
FOLDS = (1, 2, 3)


def project(folder: Path, epochs: int = 2) -> Params:
    """params.yaml and what the stages before training write, for the made corpus under the name of the demo.

    Speakers are s0 … s3 in turn: s0 is for validation in every fold, and speaker k for the test in fold k.
    """
    params = made.params(train__epochs=epochs)
    with open(folder / "params.yaml", "w") as stream:
        YAML().dump(params.model_dump(), stream)
    for name in ("features/demo", "clips/demo", "folds"):
        (folder / "data" / name).mkdir(parents=True)
    write(folder / "data/features/demo", made.corpus(params))
    table = made.table()
    table.to_csv(folder / "data/clips/demo/clips.csv", index=False)
    parts = [
        {"clip": clip, "fold": fold, "part": "test" if speaker == f"s{fold}" else "valid" if speaker == "s0" else "train"}
        for fold in FOLDS
        for clip, speaker in zip(table["clip"], table["speaker"], strict=True)
    ]
    assigned = pd.DataFrame(parts)
    assigned.to_csv(folder / "data/folds/demo.csv", index=False)
    counts = {str(fold): {part: int(((assigned["fold"] == fold) & (assigned["part"] == part)).sum()) for part in PARTS} for fold in FOLDS}
    facts = {"protocol": "speaker", "speaker_independent": True, "folds": counts, "leaks": {"speaker": 0.0}}
    (folder / "data/folds/demo.json").write_text(json.dumps(facts))
    return params


def search(root: Path, params: Params, name: str = "made", space: tuple[Axis, ...] = (LR,), folds: tuple[int, ...] = (1,), seed: int = 0):
    """A search about a project."""
    data = root / "data"
    paths = data / "features/demo", data / "clips/demo", data / "folds/demo.csv"
    return trials.Search(root / "cache/search" / name, "demo", *paths, params, list(space), list(folds), seed)


def run(about: trials.Search, count: int) -> tuple[list[Outcome], list[tuple[int, str]]]:
    """The outcomes in the order they came, and what was begun."""
    outcomes: list[Outcome] = []
    begun: list[tuple[int, str]] = []
    trials.run(about, trials.begin(about), count, lambda number, doing: begun.append((number, doing)), outcomes.append)
    return outcomes, begun


def shown(about: trials.Search) -> list[Outcome]:
    """All outcomes, best first."""
    return study.outcomes(study.find(about.folder))


def with_values(params: Params, **changes: Any) -> Params:
    """Parameters with others in place of some (double underscore for the dot)."""
    return Params.model_validate(put(params.model_dump(), {key.replace("__", "."): value for key, value in changes.items()}))
