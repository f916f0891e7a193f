"""Folds and seeds side by side: one process and one thread each.

A small network keeps one core busier than two share it (waking threads for thousands of small steps costs more than it gives), and with
one thread a sum has one order, so that the weights do not depend on how many cores a machine has.
"""

from __future__ import annotations

import ctypes
import functools
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file

from ser import SerError, batches, device, training
from ser.clips import read_table
from ser.inference import Trained
from ser.params.runtime import Runtime
from ser.runtime import workers


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


def train(jobs: list[Job], runtime: Runtime) -> list[dict]:
    """Train all jobs and return their histories one after the other, in the order of ``jobs``.

    On a CPU as many run at once as ``runtime.workers`` says; on another device one after the other.

    Raises:
        SerError: the first job's error; the others are stopped, and their checkpoints stay.
    """
    place = device.set_up(runtime)
    at_once = min(len(jobs), workers(runtime)) if place.type == "cpu" else 1
    if at_once <= 1:
        return [row for job in jobs for row in _train_one(job, runtime)]
    pool = ProcessPoolExecutor(at_once, get_context("spawn"), _end_with_parent)
    try:
        futures = [pool.submit(_train_one, job, runtime) for job in jobs]
        for done in as_completed(futures):
            done.result()  # an error is raised as soon as it happens
        return [row for future in futures for row in future.result()]
    except BaseException:
        for child in list((pool._processes or {}).values()):
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _train_one(job: Job, runtime: Runtime) -> list[dict]:
    params = job.trained.train
    place = device.set_up(runtime, deterministic=not params.fast)
    table = read_table(job.clips)
    assignment = pd.read_csv(job.assignment, dtype={"clip": "string"})
    corpus = batches.load(str(job.features), table, job.trained.classes, job.trained.features, place)
    row_of = pd.Series(range(len(table)), index=table["clip"])
    part = assignment[assignment["fold"] == job.fold]
    train, valid = (row_of[part.loc[part["part"] == kind, "clip"].sort_values()].to_numpy() for kind in ("train", "valid"))
    if len(valid) == 0 or len(train) == 0:
        counts = f"{len(train)} training and {len(valid)} validation clips"
        raise SerError(f"fold {job.fold} in {job.assignment} has {counts}; both are needed: change `split` or the class set")
    fold = training.Fold(job.fold, job.seed, train, valid, job.checkpoint)
    run = training.train_svm if job.trained.model.kind == "svm" else training.train_fold
    weights, history = run(corpus, fold, job.trained, functools.partial(print, flush=True))
    save_file(weights, job.out)
    return history


def _end_with_parent() -> None:
    """In a worker: Ctrl-C ends it without a word, and so does the death of the parent (else a killed run would go on unseen)."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    torch.set_num_threads(1)
