"""Encode a corpus: run a frozen encoder over every clip and its copies, by several workers, and resume an
interrupted run.

Clips are encoded one by one. Attention over a padded batch would need masks that Whisper does not have.
Batches of clips of equal length were not measurably faster on one core (whisper-base to layer 3, 1 to 8 clips
of 3 s: within 15 %).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ser.encoders import frozen, store
from ser.encoders.weights import Weights
from ser.params.encoder import Encoder
from ser.params.features import Copies
from ser.params.runtime import Runtime
from ser.runtime.disk import hashes, written_whole
from ser.runtime.locks import alone
from ser.runtime.workers import spread, start_early
from ser.signal.clips import ArrayWriter, check_store, growing_array, read_table
from ser.signal.heard import Heard

CHUNK = 8
"""Clips per worker task: at least half a second of work, a few megabytes of states.

An interruption loses no more.
"""


@dataclass(frozen=True)
class Chunk:
    """Clips or copies for one worker task, and the encoder."""

    heard: Heard
    folder: Path
    sha256: str
    layers: tuple[int, ...]
    silence_seconds: float


def build(
    clips_folder: Path,
    folder: Path,
    sample_rate: int,
    settings: Encoder,
    weights: Weights,
    runtime: Runtime,
    cache: Path,
    copies: Copies | None = None,
) -> store.Encoded:
    """Write the hidden states of every clip of a store (docs/data.md), and of its copies, and return them.

    Args:
        clips_folder: ``data/clips/<corpus>``.
        folder: ``data/encoded/<corpus>``; replaced as a whole, after a run without errors.
        sample_rate: rate of the clips in Hz.
        settings: section ``features.encoder``.
        weights: the encoder's files; on a Dask cluster every worker must see them at the same path.
        runtime: section ``runtime``.
        cache: folder outside the repository; an interrupted run leaves its states in its folder ``encoding``.
        copies: section ``features.copies``.

    Raises:
        SerError: if the encoder cannot be loaded or the store is damaged.
    """
    start_early(encode_chunk, runtime)
    config = frozen.read_config(weights.folder)
    frozen.check_layers(config, settings.layers)
    width = frozen.size(config)[1]
    table = read_table(clips_folder)
    starts, lengths = table["offset"].to_numpy(), table["samples"].to_numpy()
    check_store(clips_folder, starts, lengths)
    layers = tuple(settings.layers)
    every = Heard.every(clips_folder, table, sample_rate, copies)
    facts = {
        "name": settings.name,
        "layers": settings.layers,
        "width": width,
        "tokens_per_second": 50.0,
        "silence_seconds": settings.silence_seconds,
        "sha256": weights.sha256,
        "licence": weights.terms,
    }
    asked = None if copies is None else copies.model_dump()
    work = cache / "encoding" / _fingerprint([facts, sample_rate, lengths.tolist(), hashes(every.audio)["sha256"], asked])
    work.mkdir(parents=True, exist_ok=True)
    with alone(work):
        done = _finished(work, len(every), 2 * len(layers) * width)
        tasks = (
            Chunk(every.part(first, CHUNK), weights.folder.resolve(), weights.sha256, layers, settings.silence_seconds)
            for first in range(len(done), len(every), CHUNK)
        )
        counts = done.tolist()
        with (
            _growing(work, done, (len(layers), width)) as (writer, counted),
            tqdm(desc="encode", total=len(every), unit="clip") as progress,
        ):
            progress.update(len(done))
            for tokens, states in spread(encode_chunk, tasks, runtime):
                writer.append(states)
                writer.flush()  # before the counts: every counted state must be on disk
                counted.append(np.array(tokens, dtype=np.int64))
                counted.flush()
                counts += tokens
                progress.update(len(tokens))
        with written_whole(folder) as partial:
            shutil.move(work / "states.npy", partial / "states.npy")
            np.save(partial / "offsets.npy", np.cumsum([0, *counts], dtype=np.int64))
            store.write_facts(partial, facts, every.copies)
        shutil.rmtree(work)
    encoded = store.read(folder)
    assert encoded is not None
    return encoded


def encode_chunk(chunk: Chunk) -> tuple[list[int], np.ndarray]:
    """Encode the clips of a chunk: tokens of each clip, and all states, float16 (tokens, layers, width)."""
    encoder = frozen.loaded(chunk.folder, chunk.sha256, chunk.layers)
    clips = [frozen.hidden_states(encoder, signal, chunk.heard.sample_rate, chunk.silence_seconds) for signal in chunk.heard.signals()]
    return [len(clip) for clip in clips], np.concatenate(clips)


def _fingerprint(settings: Any) -> str:
    """Name of an encoding: a hash of the encoder, the parameters, the clips, torch's version and the code of
    this room and of the copies.
    """
    digest = hashlib.sha256(json.dumps([settings, torch.__version__], sort_keys=True).encode())
    copies = [Path(__file__).parents[1] / "signal" / name for name in ("heard.py", "rooms.py", "spoiling.py")]
    for path in [*sorted(Path(__file__).parent.glob("*.py")), *copies]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def _finished(work: Path, clips: int, row_bytes: int) -> np.ndarray:
    """Token counts of the clips that an interrupted run finished, in whole chunks; empty without such a run."""
    try:
        counts = np.fromfile(work / "counts.npy", dtype=np.int64, offset=_header(work / "counts.npy"))
        rows = ((work / "states.npy").stat().st_size - _header(work / "states.npy")) // row_bytes
    except (OSError, ValueError):
        return np.zeros(0, dtype=np.int64)
    junk = np.flatnonzero((counts <= 0) | (counts > rows))
    counts = counts[: junk[0]] if len(junk) else counts
    fit = int(np.searchsorted(np.cumsum(counts), rows, side="right"))
    return counts[: fit if fit == clips else fit // CHUNK * CHUNK]


def _header(path: Path) -> int:
    """Size in bytes of the header of an ``.npy`` file that is still being written."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return file.tell()


@contextmanager
def _growing(work: Path, done: np.ndarray, shape: tuple[int, int]) -> Iterator[tuple[ArrayWriter, ArrayWriter]]:
    """Writers of states and token counts that continue after the finished clips."""
    with (
        growing_array(work / "states.npy", np.float16, shape, kept=int(done.sum())) as states,
        growing_array(work / "counts.npy", np.int64, kept=len(done)) as counts,
    ):
        yield states, counts
