"""Clips per second in training: ours and the reference network in plain eager torch, on clips of the same length.

Clips have 5 s, the only length that the reference network accepts. A step is forward, loss, backward and
optimiser. Each network uses the machine as in real use. Ours runs as in the train stage: one process and one
thread per core, with a fold each, and ``train.batch_size`` clips in a batch. The reference runs in one process
with torch's choice of threads and its authors' 32 clips in a batch; then channels-last, and with our batch.
Ours uses portable kernels, the default (``train.kernels``), and native ones in turns; ``portable_time_ratio``
is the time of the former relative to the latter. Two queued experiments are twice as many processes of ours;
``queued_ratio`` is their time relative to one experiment. A GPU, where there is one, is measured too, in fp32
and bf16.

    python -m benchmarks.training
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.record import record
from benchmarks.reference_network import CLASSES, FRAMES, ROWS, ReferenceNetwork
from ser import SerError
from ser.diagram.built import build
from ser.params import Params, load
from ser.runtime import kernels
from ser.runtime.kernels import Kernels
from ser.runtime.machine import passive_waiting, workers
from ser.training.device import set_up
from ser.training.optimisation import make_optimizer
from ser.views.features import widths
from ser.views.spectrum import frame_count

SECONDS = 5
WARM_UP = 2
TURNS = 3
"""Times that portable and native kernels are measured, one after the other; the best of each counts."""
AUTHORS_BATCH = 32
"""Clips in a batch of the reference network."""
PATIENCE = 300.0
"""Seconds that a process waits until all others have imported, built and warmed up."""


def main() -> None:
    """Command line: see ``python -m benchmarks.training --help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, help="clips per step of ours (default: train.batch_size)")
    parser.add_argument("--steps", type=int, default=12, help="steps measured in each process, after two that are not (default: 12)")
    options = parser.parse_args()
    try:
        params = load()
        record("training", *measure(params, options.batch or params.train.batch_size, options.steps), params=params)
    except SerError as error:
        sys.exit(f"error: {error}")


def measure(params: Params, batch: int, steps: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure all rows; return the figures derived from them, and the rows."""
    cores = workers(params.runtime)
    rows = []

    def row(name: str, processes: int, clips_per_s: float) -> float:
        rows.append({"network": name, "processes": processes, "clips_per_s": round(clips_per_s, 1)})
        print(f"{name}: {clips_per_s:,.1f} clips/s", file=sys.stderr)
        return clips_per_s

    plain = row("reference, plain eager", 1, side_by_side(reference_clips, 1, (AUTHORS_BATCH, steps, False, "cpu")))
    row("reference, channels-last", 1, side_by_side(reference_clips, 1, (AUTHORS_BATCH, steps, True, "cpu")))
    same = row(f"reference, plain eager, batch of {batch}", 1, side_by_side(reference_clips, 1, (batch, steps, False, "cpu")))
    passive_waiting()  # inherited by all later processes
    with using("portable"):
        alone = row("ours, one core", 1, side_by_side(our_clips, 1, (params, batch, steps, "cpu", False)))
    turns: dict[Kernels, list[float]] = {"portable": [], "native": []}
    for _ in range(TURNS):
        for chosen, found in turns.items():
            with using(chosen):
                found.append(side_by_side(our_clips, cores, (params, batch, steps, "cpu", False)))
    ours, native = (row(f"ours, a fold on each core, {chosen}", cores, max(found)) for chosen, found in turns.items())
    with using("portable"):
        queued = row("ours, two experiments at once", 2 * cores, side_by_side(our_clips, 2 * cores, (params, batch, steps, "cpu", False)))
    figures = {
        "speedup_vs_reference": round(ours / plain, 2),
        "speedup_vs_reference_with_our_batch": round(ours / same, 2),
        "clips_per_s": round(ours, 1),
        "portable_time_ratio": round(native / ours, 3),
        "reference_clips_per_s": round(plain, 1),
        "clips_per_s_one_core": round(alone, 1),
        "queued_ratio": round(2 * ours / queued, 2),
        "batch": batch,
        "reference_batch": AUTHORS_BATCH,
        "clip_seconds": SECONDS,
    }
    if torch.cuda.is_available():
        fp32 = row("reference, plain eager, GPU", 1, side_by_side(reference_clips, 1, (batch, steps, False, "cuda")))
        eager = row("ours, GPU fp32", 1, side_by_side(our_clips, 1, (params, batch, steps, "cuda", False)))
        half = row("ours, GPU bf16", 1, side_by_side(our_clips, 1, (params, batch, steps, "cuda", True)))
        figures |= {
            "gpu_clips_per_s_fp32": round(eager, 1),
            "gpu_clips_per_s_bf16": round(half, 1),
            "gpu_reference_clips_per_s": round(fp32, 1),
        }
    else:
        print("no GPU found: CPU rows only; run this again on a machine that has one", file=sys.stderr)
    return figures, rows


@contextmanager
def using(chosen: Kernels) -> Iterator[None]:
    """Start processes with these kernels of torch, within the ``with`` block; this process keeps its own."""
    before = {name: os.environ.pop(name, None) for name in kernels.OF_TORCH}
    if chosen == "portable" and kernels.shared():
        os.environ.update(kernels.OF_TORCH)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def side_by_side(clips: Callable[..., int], processes: int, arguments: tuple[Any, ...], patience: float = PATIENCE) -> float:
    """Clips per second of all processes together, from the last one's start to the last one's end.

    Raises:
        SerError: if one fails, or is ready more than ``patience`` seconds after another; all have ended by
            then.
    """
    context = multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(processes), context.SimpleQueue()
    children = [context.Process(target=_timed, args=(clips, arguments, barrier, times, patience)) for _ in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    if failed := [child.exitcode for child in children if child.exitcode]:
        codes = ", ".join(map(str, failed))
        raise SerError(f"{clips.__name__}: {len(failed)} of {processes} processes ended with an error, see above (exit status {codes})")
    done, start, end = zip(*[times.get() for _ in children], strict=True)
    return sum(done) / (max(end) - min(start))


def _timed(clips: Callable[..., int], arguments: tuple[Any, ...], barrier: Any, times: Any, patience: float) -> None:
    """In a child process: put the number of clips, the common start and the end into ``times``."""
    started: list[float] = []

    def ready() -> None:
        barrier.wait(patience)
        started.append(time.monotonic())

    try:
        done = clips(*arguments, ready)
    except threading.BrokenBarrierError:
        sys.exit(f"{clips.__name__}: another process failed, or was not ready within {patience:g} s")
    except BaseException:
        barrier.abort()  # so that no other process waits for this one
        raise
    times.put((done, started[0], time.monotonic()))


def our_clips(params: Params, batch: int, steps: int, device: str, half: bool, ready: Callable[[], None]) -> int:
    """Train the network of params.yaml on one batch repeatedly; return the clips after ``ready``."""
    set_up(params.runtime.model_copy(update={"device": device}))
    network = build(params, CLASSES).to(device)
    optimizer = make_optimizer(network, params.train)
    return _steps(network, noise(params, batch, device), optimizer, batch, steps, device, half, ready)


def noise(params: Params, batch: int, device: str) -> tuple[dict[str, Tensor], Tensor]:
    """A batch in the shapes of these parameters: each view (batch, frames, columns), and the frames of each
    clip, (batch,).
    """
    frames = frame_count(SECONDS * params.preprocess.sample_rate, params.features.frames)
    views = {view: torch.randn(batch, frames, width, device=device) for view, width in widths(params.features).items()}
    return views, torch.full((batch,), frames, device=device)


def reference_clips(batch: int, steps: int, channels_last: bool, device: str, ready: Callable[[], None]) -> int:
    """Train the reference network in the same way, with SGD as its authors do."""
    network = ReferenceNetwork().to(device)
    image = torch.randn(batch, 1, ROWS, FRAMES, device=device)
    if channels_last:
        nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.8)
    return _steps(network, (image,), optimizer, batch, steps, device, False, ready)


def _steps(
    network: nn.Module,
    inputs: tuple[Tensor | dict[str, Tensor], ...],
    optimizer: torch.optim.Optimizer,
    batch: int,
    steps: int,
    device: str,
    half: bool,
    ready: Callable[[], None],
) -> int:
    network.train()
    target = torch.arange(batch, device=device) % CLASSES
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            _wait_for(device)
            ready()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            logits = network(*inputs)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(logits.float(), target).backward()
        optimizer.step()
    _wait_for(device)
    return batch * steps


def _wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
