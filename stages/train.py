"""Train one network per fold and seed; an interrupted training resumes from its last finished epoch.

Reads data/features/<corpus>, data/folds/<corpus>.csv, clips.csv and, where the model reads hidden states, data/encoded/<corpus>; writes
models/<corpus>.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pandas as pd

from ser.encoders import store
from ser.params import Params
from ser.runtime.machine import cache_dir, passive_waiting
from ser.signal.clips import read_table
from stages import command


def main(params: Params, options: argparse.Namespace) -> None:
    """Train all folds and seeds of a corpus."""
    passive_waiting()
    import torch

    from ser.training import at_once, checkpoint, device, inference, jobs

    name = options.dataset
    features, encoded, clips, folds, out = (
        Path("data/features") / name,
        Path("data/encoded") / name if params.model.reads_encoder else None,
        Path("data/clips") / name,
        Path("data/folds") / f"{name}.csv",
        Path("models") / name,
    )
    table = read_table(clips)
    place = device.set_up(params.runtime, deterministic=not params.train.fast)
    numbers = sorted(int(number) for number in pd.read_csv(folds)["fold"].unique())
    notes = {"device": place.type, "deterministic": torch.are_deterministic_algorithms_enabled(), "torch": torch.__version__}
    trained = inference.Trained.planned(name, table, numbers, params, notes, store.about(encoded))
    together = jobs.together(len(trained.folds) * len(trained.seeds), place, params.runtime)
    files = [*jobs.inputs(features, clips, folds, params.features, encoded), *jobs.code()]
    key = checkpoint.fingerprint([str(trained), torch.get_num_threads(), together], files)
    checkpoints = cache_dir(params.runtime) / "checkpoints" / f"{name}-{key}"

    out.mkdir(parents=True, exist_ok=True)
    planned = [
        jobs.Job(features, clips, folds, trained, fold, seed, checkpoints / file, out / file, encoded)
        for fold in trained.folds
        for seed in trained.seeds
        for file in [f"fold{fold}-seed{seed}.safetensors"]
    ]
    history = jobs.train(planned, params.runtime)
    if not history:
        return  # a rank above 0, started by torchrun: rank 0 writes the outputs
    pd.DataFrame(history, columns=at_once.HISTORY).to_csv(out / "history.csv", index=False, lineterminator="\n")
    trained.write(out)
    shutil.rmtree(checkpoints, ignore_errors=True)


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
