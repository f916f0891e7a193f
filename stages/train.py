"""Train one network per fold and seed; an interrupted training resumes from its last finished epoch.

Reads data/features/NAME, data/folds/NAME.csv and .json, the clips and, where the model reads hidden states, data/encoded/NAME. Writes
models/NAME.
"""

from __future__ import annotations

import argparse
import logging
from contextlib import nullcontext

import pandas as pd

from ser.encoders import store
from ser.params import Params
from ser.runtime import kernels
from ser.runtime.disk import written_whole
from ser.runtime.machine import cache_dir, launched, of_launcher, passive_waiting
from ser.signal.clips import read_table
from ser.splits import assignment
from stages import command
from stages.paths import Paths, needed

log = logging.getLogger(__name__)


def main(params: Params, options: argparse.Namespace) -> None:
    """Train all folds and seeds of a corpus."""
    passive_waiting()
    kernels.choose(params.train.kernels)
    import torch

    from ser.training import checkpoint, inference, jobs, without_epochs
    from ser.training.device import set_up

    command.say_changes()
    name, paths = options.dataset, Paths(options.dataset)
    needed(paths.assignment, f"split@{name}")
    needed(paths.features / "offsets.npy", f"features@{name}")
    encoded = needed(paths.encoded, f"encode@{name}") if params.trains_on_states else None
    table = read_table(paths.clips)
    device = set_up(params.runtime, deterministic=not params.train.fast)
    split = assignment.read(paths.assignment, table["clip"])
    assignment.read_facts(paths.folds, split)
    numbers = sorted(int(number) for number in split["fold"].unique())
    if kernels.now() != params.train.kernels:
        log.warning("this is no x86-64 processor with AVX2 on Linux, so weights will differ from other machines'")
    notes = {
        "device": device.type,
        "kernels": kernels.now(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch": torch.__version__.partition("+")[0],  # without the name of the build
    }
    trained = inference.Trained.planned(name, table, numbers, params, notes, store.about(encoded, params.features.encoder))
    together = jobs.together(len(trained.folds) * len(trained.seeds), device, params.runtime)
    files = [*jobs.inputs(paths.features, paths.clips, paths.assignment, params.features, encoded), *jobs.code()]
    key = checkpoint.fingerprint([str(trained), torch.get_num_threads(), together], files)
    checkpoints = cache_dir(params.runtime) / "checkpoints" / f"{name}-{key}"

    out = paths.models
    above = launched() and of_launcher("RANK", 0) != 0  # rank 0 takes the turn for all, and writes the outputs
    with nullcontext() if above else checkpoint.in_turn(checkpoints), nullcontext(out) if above else written_whole(out) as partial:
        planned = [
            jobs.Job(paths.features, paths.clips, paths.assignment, trained, fold, seed, checkpoints / file, partial / file, encoded)
            for fold in trained.folds
            for seed in trained.seeds
            for file in [f"fold{fold}-seed{seed}.safetensors"]
        ]
        history = jobs.train(planned, params.runtime, paths.log)
        if not above:
            pd.DataFrame(history, columns=without_epochs.HISTORY).to_csv(partial / "history.csv", index=False, lineterminator="\n")
            checkpoint.write_checksums(partial)
            trained.write(partial)


if __name__ == "__main__":
    command.run(command.parser(__doc__), main)
