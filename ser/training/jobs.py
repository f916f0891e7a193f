"""Which processes train which folds and seeds: one process per network, in parallel, or several per network.

One thread per network is fastest on a CPU: a small network has thousands of small steps, and waking more
threads costs more than they gain. With one thread a sum has one order, so the weights do not depend on the
number of cores. GPUs, too, are used best with one network each. Where GPUs outnumber the networks, or
``runtime.devices`` asks for it, several share the batches of one network (``ser.training.data_parallel``).
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save

from ser import SerError
from ser.encoders import store
from ser.params.features import Features
from ser.params.runtime import Runtime
from ser.runtime.disk import file_written_whole, place_named
from ser.runtime.machine import cause_of_death, devices, end_with_the_parent, launched, of_launcher, workers
from ser.runtime.signals import deaf_children, deferred, ignore_interrupts
from ser.runtime.workers import semaphores_told
from ser.signal.clips import check_store, read_table
from ser.splits import assignment
from ser.training import batches, data_parallel, device, inference, loop, noise, teacher, without_epochs
from ser.training.inference import Trained
from ser.training.progress import Progress, tell

CODE = ("encoders", "model", "params", "signal", "splits", "training", "views")
"""Rooms of the library that weights and validation scores depend on."""
DEATH_SEEN_WITHIN = 5.0
"""Seconds to wait, after an error of one rank, for the death of another rank that would explain it."""
LOOKS_EVERY = 0.25
"""Seconds between two looks at the log of processes that train."""


@dataclass(frozen=True)
class Job:
    """One fold and seed of a corpus: what to read, where the checkpoint lives, where the weights go."""

    features: Path
    clips: Path
    assignment: Path
    trained: Trained
    fold: int
    seed: int
    checkpoint: Path
    out: Path
    encoded: Path | None = None
    """Folder of hidden states, read where the model or its teacher does."""


def code() -> list[Path]:
    """Folders of the rooms in ``CODE``."""
    return [Path(__file__).parents[1] / room for room in CODE]


def inputs(features: Path, clips: Path, assignment: Path, params: Features, encoded: Path | None = None) -> list[Path]:
    """The files that jobs with these folders read. The audio is left out, because the features are computed from it.

    ``encoded`` is the folder of the hidden states; None where neither the model nor a teacher reads them.
    """
    arrays = [*params.views, "offsets", *(["functionals"] if params.functionals is not None else [])]
    states = [encoded / name for name in ("states.npy", "offsets.npy", store.FACTS)] if encoded is not None else []
    return [*(features / f"{name}.npy" for name in arrays), assignment, clips / "clips.csv", *states]


def together(jobs: int, place: torch.device, runtime: Runtime) -> int:
    """World size: how many processes train one network together, each on a device of its own.

    Raises:
        SerError: if the machine has fewer devices.
    """
    there = torch.cuda.device_count() if place.type == "cuda" else 1
    if launched():
        here = of_launcher("LOCAL_WORLD_SIZE", 1)
        if place.type != "cpu" and here > there:
            raise SerError(f"torchrun started {here} processes on this machine, and {place.type} has {there} device(s)")
        return of_launcher("WORLD_SIZE", 1)
    count = devices(runtime, jobs, there)
    if place.type != "cpu" and count > there:
        raise SerError(f"SER_DEVICES or runtime.devices asks for {count} devices to train one network, and {place.type} has {there}")
    return count


def train(jobs: list[Job], runtime: Runtime, log: Path, shown: bool = True) -> list[dict]:
    """Train all jobs; return their histories concatenated in the order of ``jobs``.

    ``runtime.workers`` processes run at once, on CUDA one per GPU; ``together`` of them train one job. A
    single process means this one. Processes that torchrun started train each job together, and only rank 0
    returns histories.

    Args:
        jobs: of one corpus and one set of parameters.
        runtime: how it runs.
        log: gets a line per epoch; what it held before is lost.
        shown: whether a bar shows how far it is.

    Raises:
        SerError: the first error of a job, or the death of a process. The others are stopped; their
            checkpoints stay.
    """
    place = device.set_up(runtime)
    count = together(len(jobs), place, runtime)
    gpus = torch.cuda.device_count() if place.type == "cuda" else 0
    if launched():
        if gpus:
            torch.cuda.set_device(of_launcher("LOCAL_RANK", of_launcher("RANK", 0) % gpus))
        with data_parallel.group(place):
            if data_parallel.rank() != 0:
                return [row for job in jobs for row in _train_one(job, runtime, _nothing)]
            with _progress(jobs, 1, log, shown) as progress:
                return _one_by_one(jobs, runtime, progress)
    parallel_jobs = max(1, min(len(jobs), (workers(runtime) if place.type == "cpu" else gpus) // count))
    with _progress(jobs, parallel_jobs, log, shown) as progress:
        if parallel_jobs * count == 1:
            return _one_by_one(jobs, runtime, progress)
        return _side_by_side(jobs, runtime, progress, parallel_jobs, count, gpus)


def _progress(jobs: list[Job], at_once: int, log: Path, shown: bool) -> Progress:
    """The bar of a training, and its log."""
    trained = jobs[0].trained
    by_epoch = trained.model.kind == "network"
    epochs, early = (trained.train.epochs, trained.train.patience > 0) if by_epoch else (1, False)
    return Progress(log, [(job.fold, job.seed) for job in jobs], epochs, at_once, f"train {trained.corpus}", early, shown)


def _one_by_one(jobs: list[Job], runtime: Runtime, progress: Progress) -> list[dict]:
    """Train the jobs in this process."""
    history = []
    for job in jobs:
        history += _train_one(job, runtime, progress.say)
        progress.ended((job.fold, job.seed))
    return history


def _side_by_side(jobs: list[Job], runtime: Runtime, progress: Progress, parallel_jobs: int, count: int, gpus: int) -> list[dict]:
    """Train ``parallel_jobs`` jobs at a time in processes of their own, ``count`` processes each."""
    spawn = get_context("spawn")
    with semaphores_told():
        free_gpus = spawn.SimpleQueue()
    for gpu in range(gpus):
        free_gpus.put(gpu)
    meeting_place = tempfile.TemporaryDirectory(ignore_cleanup_errors=True) if count > 1 else nullcontext()
    with meeting_place as folder:  # ignoring errors: a process may write there while another has failed
        with semaphores_told():
            pool = ProcessPoolExecutor(parallel_jobs * count, spawn, _begin, (free_gpus if gpus else None, folder))
        children: list[BaseProcess] = []
        try:
            # The pool has a multiple of ``count`` processes and starts tasks in this order, so all ranks of a job run together.
            meetings = [(job, f"file://{folder}/{number}") for number, job in enumerate(jobs)]
            with deaf_children(), deferred():  # so that none is forgotten half-started
                futures = {
                    pool.submit(_train_together, job, runtime, progress.log, meeting, rank, count): (job.fold, job.seed)
                    for job, meeting in meetings
                    for rank in range(count)
                }
                children += (pool._processes or {}).values()
            for done in _as_they_end(list(futures), progress):
                if count > 1 and isinstance(done.exception(), RuntimeError):
                    _raise_a_death(list(futures))
                if done.result():  # an error is raised as soon as it happens; only the first rank has a history
                    progress.ended(futures[done])
            return [row for future in futures for row in future.result()]
        except BrokenProcessPool:
            raise SerError(f"a training process died, {cause_of_death(children)}; a rerun resumes from its checkpoint") from None
        except BaseException:
            for child in children:
                child.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _as_they_end(futures: list[Future[list[dict]]], progress: Progress) -> Iterator[Future[list[dict]]]:
    """The futures in the order in which they end; meanwhile the bar moves."""
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, LOOKS_EVERY, FIRST_COMPLETED)
        progress.look()
        yield from done


def _raise_a_death(futures: list[Future[list[dict]]]) -> None:
    """Raise ``BrokenProcessPool`` if a process died.

    The other ranks of its network lose their connection, and may fail before the death is noticed.
    """
    for future in wait(futures, DEATH_SEEN_WITHIN).done:
        if isinstance(future.exception(), BrokenProcessPool):
            future.result()


def _train_together(job: Job, runtime: Runtime, log: Path, meeting: str, rank: int, count: int) -> list[dict]:
    """Train a job as one of ``count`` ranks."""
    say = functools.partial(tell, log)
    if count == 1:
        return _train_one(job, runtime, say)
    with data_parallel.group(device.set_up(runtime), meeting, rank, count):
        return _train_one(job, runtime, say)


def _train_one(job: Job, runtime: Runtime, say: Callable[[str], None]) -> list[dict]:
    """Train a fold and write its weights. Only rank 0 writes, says lines and returns the history."""
    first = data_parallel.rank() == 0
    fit_without_epochs = {"svm": without_epochs.train_svm, "linear": without_epochs.train_linear}.get(job.trained.model.kind)
    if fit_without_epochs is not None and not first:
        return []  # rank 0 alone fits the SVM and the regression
    params = job.trained.train
    place = device.set_up(runtime, deterministic=not params.fast)
    table = read_table(job.clips)
    split = assignment.read(job.assignment, table["clip"])
    corpus = inference.load_corpus(job.trained, job.features, job.encoded, table, place, copies=True)
    row_of = pd.Series(range(len(table)), index=table["clip"])
    part = split[split["fold"] == job.fold]
    train, valid = (row_of[part.loc[part["part"] == kind, "clip"].sort_values()].to_numpy() for kind in ("train", "valid"))
    if len(valid) == 0 or len(train) == 0:
        counts = f"{len(train)} training and {len(valid)} validation clips"
        raise SerError(f"fold {job.fold} in {job.assignment} has {counts}; both are needed: change `split` or the class set")
    fold = without_epochs.Fold(job.fold, job.seed, train, valid, job.checkpoint)
    say = say if first else _nothing
    say(f"fold {job.fold} seed {job.seed}: begins with {len(train)} clips, {len(valid)} for validation")
    if fit_without_epochs is not None:
        weights, history = fit_without_epochs(corpus, fold, job.trained, say)
    else:
        if params.teacher != "none":
            corpus = taught(corpus, job, table, train)
        rate = job.trained.preprocess.sample_rate
        recordings = None
        if _hears(job.trained):
            check_store(job.clips, table["offset"].to_numpy(), table["samples"].to_numpy())
            recordings = noise.recordings(job.clips, table, rate, job.trained.features)
        weights, history = loop.train_fold(corpus, fold, job.trained, say, recordings)
    if not first:
        return []
    with place_named(job.out), file_written_whole(job.out) as beside:
        beside.write_bytes(save(weights))
    return history


def taught(corpus: batches.Corpus, job: Job, table: pd.DataFrame, train: np.ndarray) -> batches.Corpus:
    """The corpus with targets between the labels of the training clips and the teacher's answers (``ser.training.teacher``)."""
    assert job.encoded is not None
    labels = corpus.target[: corpus.clips].cpu().numpy()
    answers = teacher.of_corpus(job.encoded, table, labels, train, job.trained)
    share = job.trained.train.teacher_share
    mixed = share * answers + (1 - share) * np.eye(len(job.trained.classes), dtype=np.float32)[labels]
    return replace(corpus, taught=torch.from_numpy(mixed.astype(np.float32)).to(corpus.device))


def _nothing(line: str) -> None:
    """What ranks above 0 say: nothing."""


def _hears(trained: Trained) -> bool:
    """Whether training adds noise to the recordings themselves."""
    asked = trained.train.augment
    return trained.model.kind == "network" and asked.noise_snr_db is not None and asked.noise_domain == "waveform"


def _begin(free_gpus: SimpleQueue[int] | None, folder: str | None) -> None:
    """Set up a worker process: its parent handles Ctrl-C, and it exits when the parent exits.

    Args:
        free_gpus: on CUDA, where it takes a GPU of its own.
        folder: removed when the parent is killed.
    """
    ignore_interrupts()
    end_with_the_parent(functools.partial(shutil.rmtree, folder, ignore_errors=True) if folder else None)
    if free_gpus is not None:
        torch.cuda.set_device(free_gpus.get())
