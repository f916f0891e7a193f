"""Train one network per fold and seed; an interrupted training resumes from its last finished epoch.

Reads data/features/NAME, data/folds/NAME.csv and .json, the clips and, where the model reads hidden states, data/encoded/NAME. Writes
models/NAME.
"""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from ser.encoders import store
from ser.params import Params
from ser.runtime.disk import written_whole
from ser.runtime.machine import cache_dir, passive_waiting
from ser.signal.clips import read_table
from ser.splits import assignment
from stages import command


def main(params: Params, options: argparse.Namespace) -> None:
    """Train all folds and seeds of a corpus."""
    passive_waiting()
    import torch

    from ser.training import at_once, checkpoint, data_parallel, device, inference, jobs

    command.say_changes()
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
    split = assignment.read(folds, table["clip"])
    assignment.read_facts(folds.with_suffix(".json"), split)
    numbers = sorted(int(number) for number in split["fold"].unique())
    notes = {"device": place.type, "deterministic": torch.are_deterministic_algorithms_enabled(), "torch": torch.__version__}
    trained = inference.Trained.planned(name, table, numbers, params, notes, store.about(encoded))
    together = jobs.together(len(trained.folds) * len(trained.seeds), place, params.runtime)
    files = [*jobs.inputs(features, clips, folds, params.features, encoded), *jobs.code()]
    key = checkpoint.fingerprint([str(trained), torch.get_num_threads(), together], files)
    checkpoints = cache_dir(params.runtime) / "checkpoints" / f"{name}-{key}"

    above = data_parallel.launched() and os.environ["RANK"] != "0"  # rank 0 takes the turn for all, and writes the outputs
    with nullcontext() if above else checkpoint.in_turn(checkpoints), nullcontext(out) if above else written_whole(out) as partial:
        planned = [
            jobs.Job(features, clips, folds, trained, fold, seed, checkpoints / file, partial / file, encoded)
            for fold in trained.folds
            for seed in trained.seeds
            for file in [f"fold{fold}-seed{seed}.safetensors"]
        ]
        history = jobs.train(planned, params.runtime)
        if not above:
            pd.DataFrame(history, columns=at_once.HISTORY).to_csv(partial / "history.csv", index=False, lineterminator="\n")
            checkpoint.write_checksums(partial)
            trained.write(partial)


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
