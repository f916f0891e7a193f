"""Compute and store the features of a corpus: views and openSMILE's functionals of every clip and its copies,
in parallel.

This module is separate from ``ser/views/features.py``, so that training does not depend on how the work is
distributed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ser.params.features import Features
from ser.params.runtime import Runtime
from ser.runtime.disk import written_whole
from ser.runtime.workers import spread, start_early
from ser.signal.clips import check_store, growing_array, read_table
from ser.signal.heard import Heard
from ser.views.features import extract, frames_of, widths
from ser.views.functionals import SETS, functionals, load

CHUNK = 64
"""Clips per task of a worker."""


@dataclass(frozen=True)
class Chunk:
    """Clips or copies of one worker task, and what is computed of them."""

    heard: Heard
    features: Features


def build(clips_folder: Path, folder: Path, sample_rate: int, features: Features, runtime: Runtime) -> int:
    """Write the features of every clip of a store (docs/data.md), and of its copies, and return the number of
    frames, without those of the copies.

    Args:
        clips_folder: ``data/clips/<corpus>``.
        folder: ``data/features/<corpus>``; replaced as a whole, after a run without errors.
        sample_rate: rate of the clips in Hz.
        features: section ``features``.
        runtime: section ``runtime``.
    """
    if features.functionals is not None:
        load(features.functionals)  # fails at once if it is not installed
    start_early(extract_chunk, runtime)
    table = read_table(clips_folder)
    starts, lengths = table["offset"].to_numpy(), table["samples"].to_numpy()
    check_store(clips_folder, starts, lengths)
    every = Heard.every(clips_folder, table, sample_rate, features.copies)
    tasks = (Chunk(every.part(first, CHUNK), features) for first in range(0, len(every), CHUNK))
    frames: list[int] = []
    with written_whole(folder) as partial, contextlib.ExitStack() as files:
        writers = {
            view: files.enter_context(growing_array(partial / f"{view}.npy", np.float16, (width,)))
            for view, width in widths(features).items()
        }
        if features.functionals is not None:
            count = SETS[features.functionals][1]
            writers["functionals"] = files.enter_context(growing_array(partial / "functionals.npy", np.float32, (count,)))
        progress = files.enter_context(tqdm(desc="features", total=len(every), unit="clip"))
        for counts, values in spread(extract_chunk, tasks, runtime):
            for name, writer in writers.items():
                writer.append(values[name])
            frames += counts
            progress.update(len(counts))
        offsets = np.cumsum([0, *frames], dtype=np.int64)
        np.save(partial / "offsets.npy", offsets)
    return int(offsets[len(table)])


def extract_chunk(chunk: Chunk) -> tuple[list[int], dict[str, np.ndarray]]:
    """``clip_features`` of the clips of a chunk.

    Returns:
        The number of frames of each clip; and all features by name, back to back: a view (all frames,
        columns), functionals (clips, n).
    """
    clips = [clip_features(signal, chunk.heard.sample_rate, chunk.features) for signal in chunk.heard.signals()]
    return [frames_of(clip) for clip in clips], {name: np.concatenate([clip[name] for clip in clips]) for name in clips[0]}


def clip_features(signal: np.ndarray, sample_rate: int, features: Features) -> dict[str, np.ndarray]:
    """All features of one clip: its views (``ser.views.features.extract``) and ``functionals``, float32 (1,
    n).

    Args:
        signal: mono float in [−1, 1), shape (samples,).
        sample_rate: in Hz.
        features: section ``features``.
    """
    stored = extract(signal, sample_rate, features)
    if features.functionals is not None:
        stored["functionals"] = functionals(signal, sample_rate, features.functionals)[None]
    return stored
