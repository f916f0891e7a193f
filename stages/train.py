"""Train one network per fold and seed; an interrupted training goes on from its last finished epoch.

Reads data/features/<corpus>, data/folds/<corpus>.csv and clips.csv; writes models/<corpus>.
"""

from __future__ import annotations

import argparse
import functools
import shutil
from pathlib import Path

import pandas as pd

from ser import SerError
from ser.clips import read_table
from ser.params import Params
from ser.runtime import cache_dir, passive_waiting
from stages import command


def main(params: Params, options: argparse.Namespace) -> None:
    """Train all folds and seeds of a corpus."""
    passive_waiting()
    import torch
    from safetensors.torch import save_file

    from ser import batches, checkpoint, device, inference, training

    name = options.dataset
    features, folds, out = Path("data/features") / name, Path("data/folds") / f"{name}.csv", Path("models") / name
    table = read_table(Path("data/clips") / name)
    assignment = pd.read_csv(folds, dtype={"clip": "string"})
    classes = params.corpora[name].labels.classes or sorted(table["emotion"].unique())
    place = device.set_up(params.runtime, deterministic=not params.train.fast)
    notes = {"device": place.type, "deterministic": not params.train.fast, "torch": torch.__version__}
    trained = inference.Trained(
        corpus=name,
        classes=[emotion for emotion in classes if (table["emotion"] == emotion).any()],
        folds=sorted(int(number) for number in assignment["fold"].unique()),
        seeds=params.train.seeds,
        preprocess=params.preprocess,
        features=params.features,
        model=params.model,
        train=params.train,
        notes=notes,
    )
    settings = {"trained": [str(trained), torch.get_num_threads()]}
    inputs = [features / "log_mel.npy", features / "mfcc.npy", features / "offsets.npy", folds, Path("data/clips") / name / "clips.csv"]
    code = [
        Path(training.__file__).parent / part for part in ("model", "params", "training.py", "batches.py", "augment.py", "inference.py")
    ]
    checkpoints = cache_dir(params.runtime) / "checkpoints" / f"{name}-{checkpoint.fingerprint(settings, [*inputs, *code])}"

    corpus = batches.load(str(features), table, trained.classes, params.features, place)
    row_of = pd.Series(range(len(table)), index=table["clip"])
    out.mkdir(parents=True, exist_ok=True)
    history: list[dict] = []
    for number in trained.folds:
        for seed in trained.seeds:
            part = assignment[assignment["fold"] == number]
            train, valid = (row_of[part.loc[part["part"] == kind, "clip"].sort_values()].to_numpy() for kind in ("train", "valid"))
            if len(valid) == 0 or len(train) == 0:
                counts = f"{len(train)} training and {len(valid)} validation clips"
                raise SerError(f"fold {number} in {folds} has {counts}; both are needed: change `split` or the class set")
            fold = training.Fold(number, seed, train, valid, checkpoints / f"fold{number}-seed{seed}.safetensors")
            train_one = training.train_svm if params.model.kind == "svm" else training.train_fold
            weights, epochs = train_one(corpus, fold, trained, functools.partial(print, flush=True))
            save_file(weights, out / f"fold{number}-seed{seed}.safetensors")
            history += epochs
    pd.DataFrame(history, columns=training.HISTORY).to_csv(out / "history.csv", index=False, lineterminator="\n")
    trained.write(out)
    shutil.rmtree(checkpoints, ignore_errors=True)


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
