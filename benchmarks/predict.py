"""Prediction by the network of params.yaml and by a pretrained encoder: cold start, a warm clip on one core, memory
of a long recording, and `ser serve`.

    python -m benchmarks.predict
    python -m benchmarks.predict --weights FOLDER    # a real whisper-base; the figures are the same

It measures two bundles of eight classes: the network of params.yaml with random weights, and one regression on
whisper-base to layer 3 with random weights of its sizes (``encoder_…``). The recordings are noise at 16 kHz. Cold is
the command ``ser predict`` in a fresh process. Warm is ``ser.load(…).predict(…)`` on samples, from voice activity
detection to the probabilities. A bundle computes on one thread, so ``cpu_ms`` is what a core that does nothing else
would need: on a busy machine it stays true where ``ms`` does not.

``hour_rss_mb`` and ``audio_hours_per_minute`` are of ``ser.load(…).predict(…)`` on a file of one hour. ``serve_…`` is
what 8 clients wait for 300 answers of `ser serve` with one worker, on loopback: each sends its next recording of 5 s
when it has the answer to the last, so 7 of 8 wait in the queue.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile as sf

from benchmarks.record import record
from benchmarks.signal import child, memory_mb
from ser.params import Params, load
from ser.runtime.machine import passive_waiting

if TYPE_CHECKING:
    import torch

    from ser.encoders.frozen import Chosen
    from ser.encoders.store import EncoderFacts
    from ser.training.inference import Trained

RATE = 16_000
SECONDS, ENCODER_SECONDS, LONG_SECONDS, HOUR = 5, 4, 600, 3600
REQUESTS, CLIENTS = 300, 8
CLASSES = [f"class{number}" for number in range(8)]


def bundle(folder: Path, weights: Path) -> Path:
    """An exported regression on this encoder, by the code that exports real ones."""
    import torch

    from benchmarks.encode import LAYERS
    from ser.encoders.frozen import Chosen, read_config, size
    from ser.encoders.pooled import STATISTICS
    from ser.encoders.store import EncoderFacts
    from ser.model.linear import Linear
    from ser.params.encoder import Encoder

    params = load()
    width = size(read_config(weights))[1]
    about = EncoderFacts(
        name="whisper-base", layers=LAYERS, width=width, tokens_per_second=50.0, silence_seconds=1.0, sha256="", licence="MIT"
    )
    encoder = Encoder(name="whisper-base", layers=LAYERS, path=str(weights))
    features, model = params.features.model_copy(update={"encoder": encoder}), params.model.model_copy(update={"kind": "linear"})
    trained = _trained(params.model_copy(update={"features": features, "model": model}), about)
    regression = Linear(STATISTICS * len(LAYERS) * width, len(CLASSES))
    torch.nn.init.normal_(regression.weight, std=1e-3, generator=torch.Generator().manual_seed(0))
    return _exported(folder, trained, regression, Chosen(weights, about))


def network_bundle(folder: Path) -> Path:
    """The network of params.yaml with random weights, exported."""
    import torch

    from ser.training.inference import new_network

    torch.manual_seed(0)
    trained = _trained(load(), None)
    return _exported(folder, trained, new_network(trained), None)


def _trained(params: Params, encoder: EncoderFacts | None) -> Trained:
    from ser.training.inference import Trained

    sections = {name: getattr(params, name) for name in ("preprocess", "features", "model", "train")}
    return Trained(corpus="benchmark", classes=CLASSES, folds=[1], seeds=[0], notes={}, encoder=encoder, **sections)


def _exported(folder: Path, trained: Trained, model: torch.nn.Module, encoder: Chosen | None) -> Path:
    from safetensors.torch import save_file

    from ser.params.corpora import Synthetic
    from ser.params.export import Export
    from ser.serving.export.write import export

    models = folder / "models"
    models.mkdir(parents=True)
    save_file(model.state_dict(), models / "fold1-seed0.safetensors")
    trained.write(models)
    source = Synthetic(kind="synthetic", seed=0, speakers=2, sentences=1, repetitions=1)
    export(models, folder / "benchmark", source, None, Export(model="folds", precision="float16"), encoder)
    return folder / "benchmark"


def measure(folder: str, recording: str, repeats: int) -> None:
    """In a process of its own, print: seconds to open, milliseconds of each of the repeats by the clock and of the
    processor, seconds kept by VAD, peak memory in MB.
    """
    from ser.serving.recogniser import load as opened

    start = time.perf_counter()
    model = opened(folder)
    opening = time.perf_counter() - start
    wave, rate = sf.read(recording, dtype="int16")
    found = model.predict(wave, rate)
    taken, busy = [], []
    for _ in range(repeats):
        start, begun = time.perf_counter(), time.process_time()
        model.predict(wave, rate)
        taken.append(1000 * (time.perf_counter() - start))
        busy.append(1000 * (time.process_time() - begun))
    print(
        json.dumps({"open_s": opening, "ms": taken, "cpu_ms": busy, "judged_s": found.speech_seconds, "rss_mb": memory_mb("self", "VmHWM")})
    )


def lasting(folder: str, path: str) -> None:
    """In a process of its own, print the seconds that a file takes, and peak memory in MB."""
    from ser.serving.recogniser import load as opened

    model = opened(folder)
    start = time.perf_counter()
    model.predict(path)
    print(json.dumps({"seconds": time.perf_counter() - start, "rss_mb": memory_mb("self", "VmHWM")}))


def hour(folder: Path, model: Path) -> dict[str, float]:
    """The numbers to quote of an hour."""
    path = recording(folder / "hour.wav", HOUR)
    run = child("from benchmarks.predict import lasting", f"lasting({str(model)!r}, {str(path)!r})")
    return {"hour_rss_mb": round(run["rss_mb"], 1), "audio_hours_per_minute": round(HOUR / 3600 / (run["seconds"] / 60), 2)}


def served(folder: Path, model: Path) -> dict[str, float]:
    """The numbers to quote of `ser serve`."""
    data = recording(folder / "served.wav", SECONDS).read_bytes()
    command = [sys.executable, "-m", "ser", "serve", "--port", "0", "--bundle", str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().partition("/  (")[0].rpartition(":")[2])
            with ThreadPoolExecutor(CLIENTS) as clients:
                first = list(clients.map(lambda _: _asked(port, data), range(REQUESTS // 6)))
                before = _memory_of_all(server.pid)
                found = first + list(clients.map(lambda _: _asked(port, data), range(REQUESTS - len(first))))
            after = _memory_of_all(server.pid)
        finally:
            server.terminate()
    times = sorted(taken for taken, good in found if good)
    return {
        "serve_p50_ms": round(statistics.median(times), 1) if times else -1,
        "serve_p99_ms": round(times[int(0.99 * (len(times) - 1))], 1) if times else -1,
        "serve_failures": sum(not good for _, good in found),
        "serve_rss_mb": round(after, 1),
        "serve_rss_mb_growth": round(after - before, 1),
    }


def _asked(port: int, data: bytes) -> tuple[float, bool]:
    """Milliseconds until the answer, and whether it was one."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", "/predict", data)
        response = connection.getresponse()
        good = "predictions" in json.loads(response.read()) and response.status == 200
    except (OSError, http.client.HTTPException, ValueError):
        good = False
    finally:
        connection.close()
    return 1000 * (time.perf_counter() - start), good


def _memory_of_all(process: int) -> float:
    """Resident memory in MB of a process and its children."""
    children = Path("/proc", str(process), "task", str(process), "children").read_text().split()
    return sum(memory_mb(one, "VmRSS") for one in [str(process), *children])


def recording(path: Path, seconds: int) -> Path:
    """Noise."""
    sf.write(path, np.random.default_rng(0).integers(-3000, 3000, seconds * RATE, dtype=np.int16), RATE)
    return path


def figures(folder: Path, model: Path, prefix: str, seconds: int, repeats: int) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The numbers to quote of one bundle, and the runs behind them."""
    short, long = recording(folder / f"{seconds}.wav", seconds), recording(folder / "long.wav", LONG_SECONDS)
    command = ("from ser.serving.cli import main", f"main(['predict', {str(short)!r}, '--json', '--bundle', {str(model)!r}])")
    cold = min(child(f"{command[0]}\ntry:\n    {command[1]}\nexcept SystemExit:\n    print()")["wall"] for _ in range(min(repeats, 5)))
    calls = [f"measure({str(model)!r}, {str(path)!r}, {turns})" for path, turns in ((short, repeats), (long, 0))]
    warm, lasting = (child("from benchmarks.predict import measure", call) for call in calls)
    times: Any = warm["ms"]
    busy: Any = warm["cpu_ms"]
    found = {
        f"{prefix}cold_start_s": round(cold, 3),
        f"{prefix}warm_ms_per_{seconds}s_clip": round(statistics.median(times), 1),
        f"{prefix}warm_ms_per_{seconds}s_clip_least": round(min(times), 1),
        f"{prefix}warm_cpu_ms_per_{seconds}s_clip": round(statistics.median(busy), 1),
        f"{prefix}open_s": round(warm["open_s"], 3),
        f"{prefix}rss_mb": round(warm["rss_mb"], 1),
        f"{prefix}rss_mb_{LONG_SECONDS}s_recording": round(lasting["rss_mb"], 1),
    }
    what = prefix.rstrip("_") or "network"
    rows = [{"what": f"{what}, {length} s", "judged_s": run["judged_s"]} for length, run in ((seconds, warm), (LONG_SECONDS, lasting))]
    return found, rows


def main(repeats: int, weights: str | None) -> None:
    """Measure, print and write down."""
    passive_waiting()
    from benchmarks.encode import random_whisper  # pandas, which would count in the memory of what is measured

    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found, rows = figures(folder, network_bundle(folder / "network"), "", SECONDS, repeats)
        network = folder / "network" / "benchmark"
        found |= hour(folder, network) | served(folder, network)
        model = bundle(folder / "bundle", Path(weights).resolve() if weights else random_whisper(folder / "whisper"))
        more, others = figures(folder, model, "encoder_", ENCODER_SECONDS, repeats)
        more["encoder_mb"] = round((model / "encoder.onnx").stat().st_size / 1e6, 2)
    record("predict", found | more, rows + others, params=load(), sections=("preprocess", "features", "model"))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=30, help="warm predictions; the median counts (default 30)")
    arguments.add_argument("--weights", metavar="FOLDER", help="a whisper-base instead of random weights")
    options = arguments.parse_args()
    main(options.repeats, options.weights)
