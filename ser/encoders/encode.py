"""Encode a corpus: run a frozen encoder over every clip and its copies, by several workers, and resume an
interrupted run.

Clips are encoded one by one. Attention over a padded batch would need masks that Whisper does not have.
Batches of clips of equal length were not measurably faster on one core (whisper-base to layer 3, 1 to 8 clips
of 3 s: within 15 %).
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import zlib
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

log = logging.getLogger(__name__)

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
    work.parent.mkdir(parents=True, exist_ok=True)
    with alone(work):
        work.mkdir(exist_ok=True)  # not before: another process that encoded the same has removed it
        done = _finished(work, len(every), 2 * len(layers) * width)
        tasks = (
            Chunk(every.part(first, CHUNK), weights.folder.resolve(), weights.sha256, layers, settings.silence_seconds)
            for first in range(len(done), len(every), CHUNK)
        )
        counts = done[:, 0].tolist()
        with (
            _growing(work, done, (len(layers), width)) as (writer, counted),
            tqdm(desc="encode", total=len(every), unit="clip") as progress,
        ):
            progress.update(len(done))
            for tokens, states in spread(encode_chunk, tasks, runtime):
                writer.append(states)
                writer.flush()  # before the counts: every counted state must be on disk
                counted.append(np.array(list(zip(tokens, _checksums(states, tokens), strict=True)), dtype=np.int64))
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


def _checksums(states: np.ndarray, tokens: list[int]) -> list[int]:
    """CRC-32 of the states of each clip."""
    return [zlib.crc32(clip.tobytes()) for clip in np.split(states, np.cumsum(tokens)[:-1])]


def _finished(work: Path, clips: int, row_bytes: int) -> np.ndarray:
    """Tokens and checksum (n, 2) of the clips that an interrupted run finished, in whole chunks up to the first damage."""
    try:
        noted = np.fromfile(work / "counts.npy", dtype=np.int64, offset=_header(work / "counts.npy"))
        noted = noted[: len(noted) // 2 * 2].reshape(-1, 2)
        whole = _undamaged(work / "states.npy", noted.tolist(), row_bytes)
    except (OSError, ValueError):
        return np.zeros((0, 2), dtype=np.int64)
    if whole < len(noted):
        log.warning("%s: states that an interrupted run left are damaged from clip %d of %d on; they are encoded again", work, whole, clips)
    return noted[: whole if whole == clips else whole // CHUNK * CHUNK]


def _undamaged(path: Path, noted: list[list[int]], row_bytes: int) -> int:
    """How many clips, from the first on, have the states that were noted."""
    with path.open("rb") as file:
        file.seek(_header(path))
        left = path.stat().st_size - file.tell()
        for number, (tokens, checksum) in enumerate(noted):
            size = tokens * row_bytes
            if not 0 < size <= left or zlib.crc32(file.read(size)) != checksum:
                return number
            left -= size
    return len(noted)


def _header(path: Path) -> int:
    """Size in bytes of the header of an ``.npy`` file that is still being written."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return file.tell()


@contextmanager
def _growing(work: Path, done: np.ndarray, shape: tuple[int, int]) -> Iterator[tuple[ArrayWriter, ArrayWriter]]:
    """Writers of states, and of tokens and checksums, that continue after the finished clips."""
    with (
        growing_array(work / "states.npy", np.float16, shape, kept=int(done[:, 0].sum())) as states,
        growing_array(work / "counts.npy", np.int64, (2,), kept=len(done)) as counts,
    ):
        yield states, counts
