"""Packed archives → the clip store: decode, check, drop duplicates, detect speech, account for every
recording.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ser import SerError
from ser.corpora.archives import Archive, MemberError, open_archive
from ser.corpora.listing import Found, list_recordings
from ser.params.corpora import Corpus
from ser.params.preprocess import Preprocess
from ser.params.runtime import Runtime
from ser.runtime.disk import written_whole
from ser.runtime.text import csv_line
from ser.runtime.workers import spread, start_early
from ser.signal import audio, vad
from ser.signal.clips import COLUMNS, REJECTED, growing_array
from ser.signal.damage import Damage, damage
from ser.signal.doubles import contradiction, without
from ser.signal.summary import summarise

CHUNK = 32
"""Recordings per task: enough to make the transfer cheap, few enough to keep all workers busy to the end."""


@dataclass(frozen=True)
class Prepared:
    """A recording after preprocessing.

    Attributes:
        pcm: what is left, int16, shape (n,), n ≥ 1.
        source_seconds: length before VAD.
        damage: what is wrong with the recording; None where it is whole.
        removed: share that VAD removed or set to zero, 0–1.
        no_speech: VAD detected none, so the whole signal was kept.
        snr_db: level of the speech over the level of the pauses; NaN without pauses or without a detector.
        content: hash of the decoded audio before VAD.
    """

    pcm: np.ndarray
    source_seconds: float
    removed: float
    no_speech: bool
    snr_db: float
    content: str
    damage: Damage | None = None


@dataclass(frozen=True)
class Chunk:
    """Recordings of one archive for one worker task.

    ``stamp`` (size and time) notices that an archive was replaced.
    """

    archive: Path
    stamp: tuple[int, int]
    members: tuple[str, ...]
    settings: Preprocess


def prepare(data: bytes, settings: Preprocess) -> Prepared:
    """A recording's bytes → its clip.

    Raises:
        AudioError: ``unreadable``, ``empty``, ``nonfinite``, ``too_long``, ``damaged``, ``too_short``,
            ``clipped`` or ``silent``.
    """
    channels, rate = audio.read(data)
    found = damage(io.BytesIO(data), len(channels) / rate)
    if found is not None and found.missing > settings.max_missing:
        raise audio.AudioError("damaged", f"{found}; at most {settings.max_missing:.0%} may be missing")
    pcm = checked(channels, rate, audio.clipped(channels), settings, bool(channels.any()))
    del channels  # a long recording fills much memory, and detection needs some
    return replace(detect(pcm, settings), damage=found)


def checked(channels: np.ndarray, rate: int, share: float, settings: Preprocess, sound: bool) -> np.ndarray:
    """The decoded signal at the working rate, int16 (n,).

    Args:
        channels: as ``audio.read`` gives them, or their mean, float32 (n, 1).
        rate: in Hz.
        share: of the values that were clipped in the recording, 0–1.
        settings: section ``preprocess``.
        sound: whether any value was not zero.

    Raises:
        AudioError: ``too_long``, ``too_short``, ``clipped`` or ``silent``.
    """
    seconds = len(channels) / rate
    if seconds < settings.min_seconds:
        raise audio.AudioError("too_short", f"{math.floor(1000 * seconds) / 1000:.3f} s; at least {settings.min_seconds:g} s are needed")
    if share > settings.max_clipped:
        raise audio.AudioError("clipped", f"{share:.1%} of the values are at full scale; at most {settings.max_clipped:.1%} are allowed")
    pcm = audio.to_pcm(channels, rate, settings.sample_rate)
    if not pcm.any():
        raise audio.AudioError("silent", "all zeros" if not sound else "less than half a step of 16 bit, or channels that cancel")
    return pcm


def detect(pcm: np.ndarray, settings: Preprocess) -> Prepared:
    """Voice activity detection on a decoded int16 signal, shape (n,), n ≥ 1, at the working rate."""
    return applied(pcm, vad.segments(pcm, settings.sample_rate, settings.vad), settings)


def applied(pcm: np.ndarray, speech: np.ndarray, settings: Preprocess) -> Prepared:
    """A decoded int16 signal with what was detected in it (``vad.segments``)."""
    return Prepared(
        pcm=vad.keep(pcm, speech, settings.vad.keep),
        source_seconds=len(pcm) / settings.sample_rate,
        removed=vad.removed(speech, len(pcm), settings.vad.keep),
        no_speech=len(speech) == 0,
        snr_db=snr_db(pcm, speech),
        content=hashlib.sha256(np.ascontiguousarray(pcm, dtype="<i2").data).hexdigest()[:32],
    )


def snr_db(pcm: np.ndarray, segments: np.ndarray) -> float:
    """Mean power inside the segments over that outside, in dB, of an int16 signal; NaN if either is empty.

    Silence counts with the power of int16's rounding, 1/12, so that the ratio is never infinite.
    """
    edges = [0, *segments.ravel().tolist(), len(pcm)]  # outside, inside, outside, …
    power, length = [0.0, 0.0], [0, 0]
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        piece = pcm[start:end].astype(np.float32)
        power[number % 2] += float(np.dot(piece, piece))
        length[number % 2] += end - start
    if 0 in length:
        return float("nan")
    outside, inside = (max(power[side] / length[side], 1 / 12) for side in (0, 1))
    return 10 * math.log10(inside / outside)


def build(name: str, corpus: Corpus, raw: Path, folder: Path, settings: Preprocess, runtime: Runtime) -> dict[str, Any]:
    """Write the clip store of a corpus (docs/data.md) and return what its ``summary.json`` says.

    Args:
        name: key of the corpus in ``params.yaml``.
        corpus: its source and labels.
        raw: what the download stage wrote, ``data/raw/<name>``.
        folder: ``data/clips/<name>``; replaced as a whole, after a run without errors.
        settings: section ``preprocess``.
        runtime: section ``runtime``.

    Raises:
        SerError: when nothing is left, or more than ``max_rejected`` of the recordings are faulty.
    """
    start_early(prepare_chunk, runtime)
    recordings, rejects = list_recordings(name, corpus, raw.resolve())
    left_out = [(reject.path, reject.reason, reject.detail) for reject in rejects]
    with written_whole(folder) as partial:
        rows, faults = _write_clips(name, recordings, settings, runtime, partial)
        left_out = sorted(left_out + faults)
        _check_faults(name, len(recordings), faults, settings.max_rejected)
        _write_table(partial / "clips.csv", list(COLUMNS), (_as_text(row) for row in rows))
        _write_table(partial / "rejected.csv", REJECTED, left_out)
        summary = summarise(name, corpus, raw, rows, left_out, settings)
        text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
        (partial / "summary.json").write_text(text + "\n", encoding="utf-8")
    return summary


def _write_clips(
    name: str, recordings: list[Found], settings: Preprocess, runtime: Runtime, folder: Path
) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    """Stream the audio to disk; return the rows of ``clips.csv`` and ``rejected.csv`` in the order of the
    recordings.
    """
    rows: list[dict[str, Any]] = []
    rejected: list[tuple[str, str, str]] = []
    first_with: dict[str, Found] = {}  # by content
    disputed: dict[str, str] = {}  # content of recordings whose labels contradict each other → one that contradicts the first
    outcomes = itertools.chain.from_iterable(spread(prepare_chunk, _chunks(recordings, settings), runtime))
    with growing_array(folder / "audio.npy", np.int16) as writer:
        progress = tqdm(outcomes, desc=f"preprocess {name}", total=len(recordings), unit="clip", mininterval=0.5)
        for one, outcome in zip(recordings, progress, strict=True):
            if not isinstance(outcome, Prepared):
                rejected.append((one.clip, *outcome))
            elif settings.deduplicate and outcome.content in first_with:
                first = first_with[outcome.content]
                if said := contradiction(one, first):
                    disputed.setdefault(outcome.content, contradiction(first, one))
                    rejected.append((one.clip, "contradictory", said))
                else:
                    rejected.append((one.clip, "duplicate", f"same audio as {first.clip}"))
            else:
                first_with[outcome.content] = one
                rows.append(_row(one, outcome, writer.length))
                writer.append(outcome.pcm)
    if disputed:
        rejected += [(row["clip"], "contradictory", disputed[row["content"]]) for row in rows if row["content"] in disputed]
        rows = without(rows, disputed, folder / "audio.npy")
    return rows, rejected


def _chunks(recordings: list[Found], settings: Preprocess) -> Iterator[Chunk]:
    """Chunks of consecutive recordings of the same archive."""
    for archive, group in itertools.groupby(recordings, key=lambda one: one.archive):
        status = archive.stat()
        members = (one.member for one in group)
        while batch := tuple(itertools.islice(members, CHUNK)):
            yield Chunk(archive, (status.st_size, status.st_mtime_ns), batch, settings)


def prepare_chunk(chunk: Chunk) -> list[Prepared | tuple[str, str]]:
    """``prepare`` each recording of a chunk, in order; (reason, detail) for one that cannot become a clip."""
    archive, _ = _opened(chunk.archive, chunk.stamp, threading.get_ident())
    outcomes: list[Prepared | tuple[str, str]] = []
    for member in chunk.members:
        try:
            outcomes.append(prepare(archive.read(member), chunk.settings))
        except (audio.AudioError, MemberError) as error:
            outcomes.append((error.reason, error.detail))
    return outcomes


@functools.lru_cache(maxsize=4)
def _opened(path: Path, stamp: tuple[int, int], thread: int) -> tuple[Archive, ExitStack]:
    """The archive, kept open from one chunk to the next in each process (and, on Dask, each thread).

    To read the index of the archive again would take longer than a chunk.
    """
    stack = ExitStack()
    return stack.enter_context(open_archive(path)), stack


def _row(one: Found, prepared: Prepared, offset: int) -> dict[str, Any]:
    labels = one.recording
    return {
        "clip": one.clip,
        "corpus": labels.corpus,
        "emotion": labels.emotion,
        "speaker": labels.speaker,
        "gender": labels.gender,
        "language": labels.language,
        "channel": labels.channel,
        "intensity": labels.intensity,
        "statement": labels.statement,
        "repetition": labels.repetition,
        "offset": offset,
        "samples": len(prepared.pcm),
        "source_seconds": prepared.source_seconds,
        "missing": prepared.damage.missing if prepared.damage else 0.0,
        "removed": prepared.removed,
        "no_speech": prepared.no_speech,
        "snr_db": prepared.snr_db,
        "content": prepared.content,
    }


def _as_text(row: dict[str, Any]) -> list[str]:
    formats: dict[str, Callable[[Any], str]] = {
        "source_seconds": "{:.6f}".format,
        "missing": "{:.6f}".format,
        "removed": "{:.6f}".format,
        "snr_db": lambda value: "" if math.isnan(value) else f"{value:.2f}",
    }
    return [formats.get(column, str)(row[column]) for column in COLUMNS]


def _write_table(path: Path, header: list[str], rows: Iterable[Iterable[str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.writelines(map(csv_line, [header, *rows]))


def _check_faults(name: str, tried: int, rejected: list[tuple[str, str, str]], bound: float) -> None:
    """Refuse a corpus with too many faulty recordings; a duplicate is not faulty."""
    faults = [one for one in rejected if one[1] != "duplicate"]
    if len(faults) > bound * tried or len(rejected) == tried:
        reasons = ", ".join(f"{reason} {count}" for reason, count in Counter(reason for _, reason, _ in faults).most_common())
        examples = "".join(f"\n  {path}: {reason}: {detail}" for path, reason, detail in faults[:5])
        raise SerError(
            f"{name}: {len(faults)} of {tried} recordings are faulty ({reasons}); preprocess.max_rejected allows {bound:.0%}. "
            f"Is the archive whole? If these recordings are expected, raise max_rejected. The first of them:{examples}"
        )
