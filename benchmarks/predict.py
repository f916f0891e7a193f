"""Prediction with a pretrained encoder: cold start, a warm clip on one core, and memory of a long recording.

    python -m benchmarks.predict
    python -m benchmarks.predict --weights FOLDER    # a real whisper-base; the figures are the same

Measured is a bundle with whisper-base to layer 3, random weights of its sizes, and one regression of eight classes. The recording is
noise at 16 kHz. Cold is the command ``ser predict`` in a fresh process. Warm is ``ser.load(…).predict(…)`` on samples, from voice
activity detection to the probabilities. A bundle computes on one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile as sf

from benchmarks.record import record
from benchmarks.signal import child, memory_mb
from ser.params import load
from ser.runtime.machine import passive_waiting

RATE = 16_000
SECONDS, LONG_SECONDS = 4, 600
CLASSES = [f"class{number}" for number in range(8)]


def bundle(folder: Path, weights: Path) -> Path:
    """An exported regression on this encoder, by the code that exports real ones."""
    import torch
    from safetensors.torch import save_file

    from benchmarks.encode import LAYERS
    from ser.encoders.frozen import Chosen, read_config, size
    from ser.encoders.pooled import STATISTICS
    from ser.encoders.store import EncoderFacts
    from ser.model.linear import Linear
    from ser.params.corpora import Synthetic
    from ser.params.encoder import Encoder
    from ser.params.export import Export
    from ser.serving.export import export
    from ser.training.inference import Trained

    params = load()
    width = size(read_config(weights))[1]
    about = EncoderFacts(
        name="whisper-base", layers=LAYERS, width=width, tokens_per_second=50.0, silence_seconds=1.0, sha256="", licence="MIT"
    )
    encoder = Encoder(name="whisper-base", layers=LAYERS, path=str(weights))
    trained = Trained(
        corpus="benchmark",
        classes=CLASSES,
        folds=[1],
        seeds=[0],
        preprocess=params.preprocess,
        features=params.features.model_copy(update={"encoder": encoder}),
        model=params.model.model_copy(update={"kind": "linear"}),
        train=params.train,
        notes={},
        encoder=about,
    )
    models = folder / "models"
    models.mkdir(parents=True)
    regression = Linear(STATISTICS * len(LAYERS) * width, len(CLASSES))
    torch.nn.init.normal_(regression.weight, std=1e-3, generator=torch.Generator().manual_seed(0))
    save_file(regression.state_dict(), models / "fold1-seed0.safetensors")
    trained.write(models)
    source = Synthetic(kind="synthetic", seed=0, speakers=2, sentences=1, repetitions=1)
    export(models, folder / "benchmark", source, None, Export(model="folds", precision="float16"), Chosen(weights, about))
    return folder / "benchmark"


def measure(folder: str, recording: str, repeats: int) -> None:
    """In a process of its own, print: seconds to open, milliseconds of each of the repeats, seconds kept by VAD, peak memory in MB."""
    from ser.serving.recogniser import load as opened

    start = time.perf_counter()
    model = opened(folder)
    opening = time.perf_counter() - start
    wave, rate = sf.read(recording, dtype="int16")
    found = model.predict(wave, rate)
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        model.predict(wave, rate)
        taken.append(1000 * (time.perf_counter() - start))
    print(json.dumps({"open_s": opening, "ms": taken, "judged_s": found.speech_seconds, "rss_mb": memory_mb("self", "VmHWM")}))


def recording(path: Path, seconds: int) -> Path:
    """Noise."""
    sf.write(path, np.random.default_rng(0).integers(-3000, 3000, seconds * RATE, dtype=np.int16), RATE)
    return path


def figures(folder: Path, model: Path, repeats: int) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The numbers to quote, and the runs behind them."""
    short, long = recording(folder / "short.wav", SECONDS), recording(folder / "long.wav", LONG_SECONDS)
    command = ("from ser.serving.cli import main", f"main(['predict', {str(short)!r}, '--json', '--bundle', {str(model)!r}])")
    cold = min(child(f"{command[0]}\ntry:\n    {command[1]}\nexcept SystemExit:\n    print()")["wall"] for _ in range(min(repeats, 5)))
    warm, hour = (child("from benchmarks.predict import measure", f"measure({str(model)!r}, {str(path)!r}, {turns})") for path, turns in (
        (short, repeats), (long, 0),
    ))  # fmt: skip
    times: Any = warm["ms"]
    found = {
        "cold_start_s": round(cold, 3),
        f"warm_ms_per_{SECONDS}s_clip": round(statistics.median(times), 1),
        f"warm_ms_per_{SECONDS}s_clip_least": round(min(times), 1),
        "open_s": round(warm["open_s"], 3),
        "encoder_mb": round((model / "encoder.onnx").stat().st_size / 1e6, 2),
        "rss_mb": round(warm["rss_mb"], 1),
        f"rss_mb_{LONG_SECONDS}s_recording": round(hour["rss_mb"], 1),
    }
    rows = [{"what": f"{SECONDS} s", "judged_s": warm["judged_s"]}, {"what": f"{LONG_SECONDS} s", "judged_s": hour["judged_s"]}]
    return found, rows


def main(repeats: int, weights: str | None) -> None:
    """Measure, print and write down."""
    passive_waiting()
    from benchmarks.encode import random_whisper  # pandas, which would count in the memory of what is measured

    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = bundle(folder / "bundle", Path(weights).resolve() if weights else random_whisper(folder / "whisper"))
        found, rows = figures(folder, model, repeats)
    record("predict", found, rows, params=load(), sections=("preprocess",))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=30, help="warm predictions; the median counts (default 30)")
    arguments.add_argument("--weights", metavar="FOLDER", help="a whisper-base instead of random weights")
    options = arguments.parse_args()
    main(options.repeats, options.weights)
