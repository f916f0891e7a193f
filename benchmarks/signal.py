"""From archive to features: time, memory and scaling, compared with peers on the same clips in the same run.

    SER_MIRROR=<folder with ravdess/…> python -m benchmarks.signal

Each time is the minimum of interleaved repeats, so that other load on the machine affects all rows alike. Our
code writes to disk, as the stages do; the peers only compute.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.peers import bare_decode, bare_fft, bare_vad, librosa_loop, opensmile_loop
from benchmarks.record import record
from ser import SerError
from ser.params import Params, load
from ser.runtime.machine import mirror
from ser.signal import preprocessing
from ser.signal.clips import read_table, to_float
from ser.views import extraction, features

ARCHIVE = "Audio_Speech_Actors_01-24.zip"
TIMES = (1, 2, 4)


def repeated(source: Path, folder: Path, times: int, clips: int | None) -> Path:
    """Write a copy of the archive with every recording ``times`` times; return its folder."""
    folder.mkdir()
    with zipfile.ZipFile(source) as packed, zipfile.ZipFile(folder / ARCHIVE, "w", zipfile.ZIP_STORED) as copy:
        members = sorted(name for name in packed.namelist() if name.endswith(".wav"))[:clips]
        for name in members:
            data = packed.read(name)
            for turn in range(times):
                copy.writestr(zipfile.ZipInfo(f"{turn}/{name}"), data)
    (folder / "source.json").write_text(json.dumps({"corpus": "ravdess", "edition": "mirror", "archives": [{"name": ARCHIVE}]}))
    return folder


def clips_alone() -> Params:
    """params.yaml without spoilt copies, which no peer makes."""
    params = load()
    return params.model_copy(update={"features": params.features.model_copy(update={"copies": None})})


def ours(params: Params, raw: Path, folder: Path, workers: int) -> float:
    """Run preprocess and features as the stages do; return the seconds of audio."""
    runtime = params.runtime.model_copy(update={"workers": workers, "scheduler": None})
    settings = params.preprocess.model_copy(update={"deduplicate": False})
    preprocessing.build("ravdess", params.corpora["ravdess"], raw, folder / "clips", settings, runtime)
    extraction.build(folder / "clips", folder / "features", settings.sample_rate, params.features, runtime)
    return float(read_table(folder / "clips")["source_seconds"].sum())


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def child(*code: str, environment: dict[str, str] | None = None) -> dict[str, float]:
    """Run lines in a fresh interpreter; return the JSON they print, and ``wall``, the seconds it took."""
    start = time.perf_counter()
    command = [sys.executable, "-c", "\n".join(code)]
    finished = subprocess.run(command, env=os.environ | (environment or {}), stdout=subprocess.PIPE, check=True, start_new_session=True)
    return json.loads(finished.stdout or b"{}") | {"wall": time.perf_counter() - start}


def measure(raw: str, folder: str, workers: int) -> None:
    """Print, as JSON, seconds and peak resident memory in MB: of this process, and of its whole session."""
    params, totals, done = clips_alone(), [0.0], threading.Event()
    watch = threading.Thread(target=watch_session, args=(totals, done))
    watch.start()
    start = time.perf_counter()
    audio = ours(params, Path(raw), Path(folder), workers)
    taken = time.perf_counter() - start
    done.set()
    watch.join()
    print(json.dumps({"seconds": taken, "audio_seconds": audio, "rss_mb": memory_mb("self", "VmHWM"), "all_rss_mb": max(totals)}))


def independent(copies: list[Path]) -> dict[str, float]:
    """Run one process per copy of a download, all at once. They share nothing, so they show the cores' limit.

    Returns:
        ``seconds`` of the slowest; ``audio_seconds`` and ``all_rss_mb`` summed over all.
    """
    work = [f"measure({str(raw)!r}, {str(raw.with_suffix('.out'))!r}, 1)" for raw in copies]
    with ThreadPoolExecutor(len(work)) as threads:
        runs = list(threads.map(lambda line: child("from benchmarks.signal import measure", line), work))
    together = {key: sum(run[key] for run in runs) for key in ("audio_seconds", "all_rss_mb")}
    return {"seconds": max(run["seconds"] for run in runs), **together}


def watch_session(totals: list[float], done: threading.Event) -> None:
    """Append the resident memory in MB, summed over the processes of this session, until ``done``."""
    while not done.wait(0.05):
        total = 0.0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):  # a process may end while it is read
                    if os.getsid(int(entry.name)) == os.getsid(0):
                        total += memory_mb(entry.name, "VmRSS")
        totals.append(total)


def memory_mb(process: str, field: str) -> float:
    """A memory figure of the kernel, in MB.

    The peak VmHWM starts with the program. getrusage would include the parent's memory at the fork.
    """
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc", process, "status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def one_clip(path: str, how: str) -> None:
    """Compute the features of one clip in a cold process, with librosa or with our code."""
    params, data = clips_alone(), Path(path).read_bytes()
    if how == "librosa":
        librosa_loop([data], params, "same")
    else:
        prepared = preprocessing.prepare(data, params.preprocess)
        features.extract(to_float(prepared.pcm), params.preprocess.sample_rate, params.features)


def begin(stage: str) -> None:
    """Run a stage script until it has read its arguments."""
    subprocess.run([sys.executable, "-m", f"stages.{stage}", "--help"], check=True, stdout=subprocess.DEVNULL)


def per_clip(params: Params, raw: Path, folder: Path, repeats: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Measure one process with one thread: ours, the ideal and the peers, in turn."""
    audio = ours(params, raw, folder, 1)
    table, pcm = read_table(folder / "clips"), np.load(folder / "clips" / "audio.npy", allow_pickle=False)
    ends = np.cumsum(table["samples"].to_numpy())
    kept = [to_float(part) for part in np.split(pcm, ends[:-1])]
    with zipfile.ZipFile(raw / ARCHIVE) as packed:
        recordings = [packed.read(name) for name in sorted(packed.namelist())]
    whole = [sf.read(io.BytesIO(data), dtype="int16", always_2d=True)[0].mean(axis=1).astype(np.int16) for data in recordings]
    work: dict[str, Callable[[], Any]] = {
        "ours: preprocess + features": lambda: ours(params, raw, folder, 1),
        "librosa, its own numbers": lambda: librosa_loop(recordings, params, "plain"),
        "librosa, our numbers": lambda: librosa_loop(recordings, params, "same"),
        "librosa, our numbers, one log-mel": lambda: librosa_loop(recordings, params, "shared"),
        "ideal: decode": lambda: bare_decode(raw / ARCHIVE),
        "ideal: VAD": lambda: bare_vad(whole, params),
        "ideal: FFT": lambda: bare_fft(kept, params),
    }
    if importlib.util.find_spec("opensmile"):
        work["opensmile eGeMAPS"] = lambda: opensmile_loop(recordings)
    librosa_loop(recordings[:2], params, "same")
    least = dict.fromkeys(work, float("inf"))
    with threadpool_limits(1):
        for _ in tqdm(range(repeats), desc="one process", unit="repeat"):
            for name, do in work.items():
                least[name] = min(least[name], timed(do))
    rows = [{"what": name, "seconds": seconds, "times_real_time": audio / seconds} for name, seconds in least.items()]
    ideal = sum(seconds for name, seconds in least.items() if name.startswith("ideal"))
    rows.append({"what": "ideal: together", "seconds": ideal, "times_real_time": audio / ideal})
    if "opensmile eGeMAPS" not in least:
        rows.append({"what": "opensmile eGeMAPS: not installed"})
    mine = least["ours: preprocess + features"]
    return rows, {
        "audio_seconds": audio,
        "clips": len(table),
        "times_real_time": audio / mine,
        "speedup_vs_librosa": least["librosa, its own numbers"] / mine,
        "speedup_vs_librosa_with_our_numbers": least["librosa, our numbers"] / mine,
        "speedup_vs_librosa_with_our_numbers_and_one_log_mel": least["librosa, our numbers, one log-mel"] / mine,
        "ideal_fraction": ideal / mine,
    }


def scaling(raws: dict[int, Path], folder: Path, repeats: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Measure one and two processes on 1, 2 and 4 × the clips: time, memory and the gain of a second core.

    Time is linear in the hours of audio: the slope is the cost of an hour, the intercept the cost of
    starting. The gain of the second core is the ratio of the slopes; including starts, it is the ratio of
    times on the largest download. Two independent processes measure the machine's limit, because two cores
    share caches, memory and clock.
    """
    runs: dict[tuple[int, int], dict[str, float]] = {}
    pairs = []
    copies = [Path(shutil.copytree(raws[1], folder / f"copy{number}")) for number in (1, 2)]
    for _ in tqdm(range(repeats), desc="scaling", unit="repeat"):
        for times, raw in raws.items():
            for workers in (1, 2):
                run = child("from benchmarks.signal import measure", f"measure({str(raw)!r}, {str(folder)!r}, {workers})")
                best = runs.setdefault((workers, times), run)
                best.update({key: min(value, run[key]) for key, value in best.items()})
        pairs.append(independent(copies))
    rows = [
        {
            "what": f"{workers} process{'es' if workers > 1 else ''}, {times} × the clips",
            "seconds": run["seconds"],
            "times_real_time": run["audio_seconds"] / run["seconds"],
            "rss_mb": run["rss_mb"],
            "all_rss_mb": run["all_rss_mb"],
            "seconds_per_hour": run["seconds"] / run["audio_seconds"] * 3600,
        }
        for (workers, times), run in sorted(runs.items())
    ]
    pair = min(pairs, key=lambda run: run["seconds"])
    rows.append(
        {
            "what": "two independent processes, each 1 × the clips",
            "seconds": pair["seconds"],
            "times_real_time": pair["audio_seconds"] / pair["seconds"],
            "all_rss_mb": pair["all_rss_mb"],
        }
    )
    one, two = runs[1, 4], runs[2, 4]
    hours = [runs[1, times]["audio_seconds"] / 3600 for times in raws]
    (cost, begin), (cost_two, begin_two) = (np.polyfit(hours, [runs[w, times]["seconds"] for times in raws], 1) for w in (1, 2))
    slopes = np.diff([runs[1, times]["seconds"] for times in raws]) / np.diff(hours)
    return rows, {
        "second_core": float(cost / cost_two),
        "second_core_with_starts": one["seconds"] / two["seconds"],
        "second_core_ceiling": 2 * runs[1, 1]["seconds"] / pair["seconds"],
        "start_seconds": float(begin_two - begin),
        "rss_mb": runs[1, 1]["rss_mb"],
        "rss_growth_at_4x": one["rss_mb"] / runs[1, 1]["rss_mb"] - 1,
        "all_rss_mb_two_processes": runs[2, 1]["all_rss_mb"],
        "rss_growth_at_4x_two_processes": two["all_rss_mb"] / runs[2, 1]["all_rss_mb"] - 1,
        "seconds_per_hour": float(cost),
        "seconds_per_hour_1x_to_2x": float(slopes[0]),
        "seconds_per_hour_2x_to_4x": float(slopes[1]),
    }


def cold(raw: Path, folder: Path, repeats: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Measure cold processes: the start of the stages, one clip each way, with and without numba cache."""
    with zipfile.ZipFile(raw / ARCHIVE) as packed:
        (folder / "clip").write_bytes(packed.read(sorted(packed.namelist())[0]))
    first = ("from benchmarks.signal import one_clip", f"one_clip({str(folder / 'clip')!r}, ")
    (folder / "numba").mkdir()
    cache = {"NUMBA_CACHE_DIR": str(folder / "numba")}
    rows: dict[str, list[float]] = {
        "librosa, first clip of a cold process": [child(first[0], first[1] + "'librosa')", environment=cache)["wall"]]
    }
    for _ in tqdm(range(repeats), desc="cold start", unit="repeat"):
        for stage in ("preprocess", "features"):
            started = timed(functools.partial(begin, stage))
            rows.setdefault(f"stages.{stage}, until it begins", []).append(started)
        for how in ("librosa", "ours"):
            rows.setdefault(f"{how}, first clip of a new process", []).append(
                child(first[0], f"{first[1]}{how!r})", environment=cache)["wall"]
            )
    least = {what: min(seconds) for what, seconds in rows.items()}
    return [{"what": what, "seconds": seconds} for what, seconds in least.items()], {
        "stage_start_seconds": max(least[f"stages.{stage}, until it begins"] for stage in ("preprocess", "features")),
        "first_clip_seconds": least["ours, first clip of a new process"],
        "librosa_first_clip_cold_seconds": least["librosa, first clip of a cold process"],
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=3, help="number of repeats; the fastest counts (default: 3)")
    arguments.add_argument("--clips", type=int, default=None, help="use only this many recordings (default: all)")
    options = arguments.parse_args()
    params = clips_alone()
    source = Path(mirror(params.runtime) or "") / "ravdess" / ARCHIVE
    if not source.is_file():
        raise SerError(f"{source} not found: SER_MIRROR must name a folder that holds ravdess/{ARCHIVE}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        raws = {times: repeated(source, folder / f"raw{times}", times, options.clips) for times in TIMES}
        rows, figures = per_clip(params, raws[1], folder, options.repeats)
        for part, more in (scaling(raws, folder, options.repeats), cold(raws[1], folder, options.repeats)):
            rows += part
            figures |= more
    rounded = {name: round(value, 4) for name, value in figures.items()}
    record("signal", rounded, rows, params=params, sections=("preprocess", "features"))


if __name__ == "__main__":
    try:
        main()
    except SerError as error:
        sys.exit(f"error: {error}")
