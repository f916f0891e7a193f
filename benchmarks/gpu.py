"""What a graphics card makes of the network of params.yaml: speed, memory, agreement with the CPU, the same bytes twice.

Clips are noise in the shapes and numbers of RAVDESS, because the real ones need not be where the card is: 1,440 clips of 1.5 to 3 s,
with their spoilt copies. ``benchmarks/gpu.sh`` runs it on a machine that has torch and not much else.

    python -m benchmarks.gpu

Written to ``metrics/benchmarks/gpu-<card>.json``.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.record import record
from benchmarks.training import our_clips, reference_clips, side_by_side
from ser import SerError
from ser.params import Params, load
from ser.runtime.provenance import provenance
from ser.training import batches, inference, loop
from ser.training.device import set_up
from ser.training.inference import Trained
from ser.training.without_epochs import Fold
from ser.views.features import Views, widths

CLIPS, FOLDS, EPOCHS = 1440, 6, 60
"""Of RAVDESS, and epochs of a training in docs/results.md."""
SECONDS = (1.5, 3.0)
"""Length of clips, from and to."""
AGREES = 1e-4
"""Probabilities of the same weights may differ by this much between CPU and card."""


def main() -> None:
    """Command line: see ``python -m benchmarks.gpu --help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: to try the benchmark itself (default: cuda)")
    parser.add_argument("--clips", type=int, default=CLIPS, help=f"clips of the made corpus, from 40 (default: {CLIPS})")
    parser.add_argument("--steps", type=int, default=50, help="steps of training behind each row (default: 50)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs that are timed, after one that is not (default: 3)")
    options = parser.parse_args()
    try:
        params = load()
        if params.model.kind != "network" or params.model.reads_encoder is not None:
            raise SerError("this measures a network without an encoder: choose model.kind: network and branches without `encoder`")
        if options.clips < 40:
            raise SerError("--clips must be at least 40, so that all parts have some")
        figures, rows = measure(params, options.device, options.clips, options.steps, options.epochs)
        record(f"gpu-{card(options.device)}", figures, rows, params=params, sections=("preprocess", "features", "model", "train"))
    except SerError as error:
        sys.exit(f"error: {error}")
    if not (figures["agrees"] and figures["same_bytes_twice"]):
        sys.exit("error: the card does not compute what it should, see above")


def card(device: str) -> str:
    """Name of the first card for a file, such as ``h200``; the device where the driver names none."""
    names = provenance().gpu if device == "cuda" else []
    return re.sub(r"[^a-z0-9]+", "-", names[0].lower().removeprefix("nvidia").strip()).strip("-") if names else device


def measure(params: Params, device: str, clips: int, steps: int, epochs: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All figures, and the rows of speeds behind them.

    Raises:
        SerError: if there is no such device, or a process of a benchmark fails.
    """
    place = set_up(params.runtime.model_copy(update={"device": device}))
    rows: list[dict[str, Any]] = []
    batch = params.train.batch_size
    for name, function, arguments in (
        ("reference, plain eager fp32", reference_clips, (batch, steps, False, device)),
        ("ours, fp32", our_clips, (params, batch, steps, device, False)),
        ("ours, bf16", our_clips, (params, batch, steps, device, True)),
    ):
        rows.append({"network": name, "clips_per_s": round(side_by_side(function, 1, arguments), 1)})
        print(f"{name}: {rows[-1]['clips_per_s']:,.1f} clips/s", file=sys.stderr)
    reference, ours, half = (row["clips_per_s"] for row in rows)
    with tempfile.TemporaryDirectory(prefix="ser-") as folder:
        figures = training(params, place, clips, epochs, Path(folder))
        figures["same_bytes_twice"] = same_twice(params, place, Path(folder))
    apart = disagreement(params, place)
    speeds = {
        "clips_per_s_fp32": ours,
        "clips_per_s_bf16": half,
        "reference_clips_per_s": reference,
        "fp32_vs_reference": round(ours / reference, 2),
        "bf16_vs_fp32": round(half / ours, 2),
    }
    return speeds | figures | {"probabilities_apart_from_cpu": apart, "agrees": apart <= AGREES}, rows


def made(params: Params, clips: int, place: torch.device, copies: int) -> tuple[batches.Corpus, Trained]:
    """A corpus of noise on the device, and what a network of it would be: 8 classes and 24 speakers, as in RAVDESS."""
    random = np.random.default_rng(0)
    per_second = params.preprocess.sample_rate / params.features.frames.hop_length
    shortest, longest = (round(seconds * per_second) for seconds in SECONDS)
    lengths = np.tile(random.integers(shortest, longest, clips), 1 + copies)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    frames = {
        name: random.normal(-50, 10, (int(offsets[-1]), columns)).astype(np.float16) for name, columns in widths(params.features).items()
    }
    classes = [f"class{number}" for number in range(8)]
    table = pd.DataFrame(
        {"emotion": [classes[row % 8] for row in range(clips)], "speaker": [f"s{row * 24 // clips}" for row in range(clips)]}
    )
    corpus = batches.load(Views(frames, offsets, copies=copies), table, classes, params.features, place)
    sections = params.preprocess, params.features, params.model, params.train
    return corpus, Trained("made", classes, [1], [0], *sections, {})


def fold_of(clips: int, checkpoint: Path) -> Fold:
    """Two thirds of the clips for training and a sixth for validation, as in a fold of six."""
    rows = np.arange(clips)
    return Fold(1, 0, rows[: clips * 2 // 3], rows[clips * 2 // 3 : clips * 5 // 6], checkpoint)


def training(params: Params, place: torch.device, clips: int, epochs: int, folder: Path) -> dict[str, Any]:
    """Seconds of an epoch with augmentation, validation and checkpoint, what six folds would take, and memory."""
    copies = params.features.copies.count if params.features.copies is not None else 0
    corpus, trained = made(params, clips, place, copies)
    ended: list[float] = []
    trained = replace(trained, train=params.train.model_copy(update={"epochs": 1 + epochs, "patience": 0}))
    loop.train_fold(corpus, fold_of(clips, folder / "timed.safetensors"), trained, lambda line: ended.append(time.monotonic()))
    epoch = (ended[-1] - ended[-1 - epochs]) / epochs
    figures: dict[str, Any] = {
        "clips": clips,
        "epoch_seconds": round(epoch, 3),
        "six_folds_minutes": round(FOLDS * EPOCHS * epoch / 60, 2),  # of measured epochs, not of a whole run
    }
    if place.type == "cuda":
        figures["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    return figures


def same_twice(params: Params, place: torch.device, folder: Path) -> bool:
    """Whether two trainings of two epochs give the same bytes."""
    corpus, trained = made(params, 80, place, 0)
    augmented = params.train.augment.model_copy(update={"copies_share": 0.0})
    trained = replace(trained, train=params.train.model_copy(update={"epochs": 2, "patience": 0, "augment": augmented}))
    first, second = (
        loop.train_fold(corpus, fold_of(80, folder / f"{number}.safetensors"), trained, lambda line: None)[0] for number in range(2)
    )
    return all(torch.equal(value, second[name]) for name, value in first.items())


def disagreement(params: Params, place: torch.device) -> float:
    """The largest difference of a probability between the CPU and the device, of one untrained network on 40 clips."""
    torch.manual_seed(0)
    found: list[np.ndarray] = []
    for where in (torch.device("cpu"), place):
        corpus, trained = made(params, 40, where, 0)
        if not found:
            network = inference.new_network(trained)
            views = batches.view_statistics(corpus, np.arange(40))
            network.set_statistics({name: (torch.from_numpy(view.mean), torch.from_numpy(view.scale)) for name, view in views.items()})
        found.append(inference.probabilities(network.to(where), corpus, np.arange(40), trained.max_frames))
    return float(f"{np.abs(found[0] - found[1]).max():.2g}")


if __name__ == "__main__":
    main()
