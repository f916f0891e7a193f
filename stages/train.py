"""Train one network per fold and seed; an interrupted training resumes from its last finished epoch.

Reads data/features/<corpus>, data/folds/<corpus>.csv and clips.csv; writes models/<corpus>.
"""

from __future__ import annotations

import argparse
import shutil

import pandas as pd

from ser.params import Params
from ser.runtime.machine import cache_dir, passive_waiting
from ser.signal.clips import read_table
from stages import command
from stages.paths import Paths, needed


def main(params: Params, options: argparse.Namespace) -> None:
    """Train all folds and seeds of a corpus."""
    passive_waiting()
    import torch

    from ser.training import checkpoint, inference, jobs, loop
    from ser.training.device import set_up

    name, paths = options.dataset, Paths(options.dataset)
    needed(paths.assignment, f"split@{name}")
    needed(paths.features / "offsets.npy", f"features@{name}")
    table = read_table(paths.clips)
    device = set_up(params.runtime, deterministic=not params.train.fast)
    numbers = sorted(int(number) for number in pd.read_csv(paths.assignment)["fold"].unique())
    notes = {"device": device.type, "deterministic": torch.are_deterministic_algorithms_enabled(), "torch": torch.__version__}
    trained = inference.Trained.planned(name, table, numbers, params, notes)
    together = jobs.together(len(trained.folds) * len(trained.seeds), device, params.runtime)
    files = [*jobs.inputs(paths.features, paths.clips, paths.assignment, params.features), *jobs.code()]
    key = checkpoint.fingerprint([str(trained), torch.get_num_threads(), together], files)
    checkpoints = cache_dir(params.runtime) / "checkpoints" / f"{name}-{key}"

    paths.models.mkdir(parents=True, exist_ok=True)
    planned = [
        jobs.Job(paths.features, paths.clips, paths.assignment, trained, fold, seed, checkpoints / file, paths.models / file)
        for fold in trained.folds
        for seed in trained.seeds
        for file in [f"fold{fold}-seed{seed}.safetensors"]
    ]
    history = jobs.train(planned, params.runtime)
    if not history:
        return  # a rank above 0, started by torchrun: rank 0 writes the outputs
    pd.DataFrame(history, columns=loop.HISTORY).to_csv(paths.models / "history.csv", index=False, lineterminator="\n")
    trained.write(paths.models)
    shutil.rmtree(checkpoints, ignore_errors=True)


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
