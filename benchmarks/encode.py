"""Hidden states of a frozen encoder: speed on one core beside the bare matrix products of the same shapes,
and memory.

    python -m benchmarks.encode
    python -m benchmarks.encode --weights FOLDER     # a real whisper-base; the figures are the same

It measures whisper-base up to layer 3, with random weights, on noise clips as long as RAVDESS' after VAD, and
runs it as the stage does with one worker: reading, log-mel, network, float16, writing. The products are those of the network alone
(convolutions as products, attention,
feed-forward), in float32, in the same process and turn by turn with the encoder. Their ratio is one of processor
time, which other work on the machine hardly changes; ``times_real_time`` is by the clock and needs a quiet machine.
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
import pandas as pd

from benchmarks.record import record
from benchmarks.signal import child, memory_mb
from ser.encoders.cutting import HOP
from ser.params import load
from ser.params.encoder import Encoder
from ser.runtime.machine import passive_waiting
from ser.signal.clips import COLUMNS

RATE = 16_000
LAYERS = [1, 2, 3]
WHISPER_BASE: dict[str, Any] = {
    "model_type": "whisper",
    "num_mel_bins": 80,
    "d_model": 512,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "encoder_layers": 6,
    "max_source_positions": 1500,
}


def products(tokens: int, config: dict[str, Any], deepest: int) -> list[tuple[int, int, int, int]]:
    """The matrix products of an encoder to a layer on so many tokens: (how many side by side, rows, inner,
    columns).
    """
    width, heads, ffn = config["d_model"], config["encoder_attention_heads"], config["encoder_ffn_dim"]
    stem = [(1, 2 * tokens, 3 * config["num_mel_bins"], width), (1, tokens, 3 * width, width)]
    projections = [(1, tokens, width, width)] * 4
    attention = [(heads, tokens, width // heads, tokens), (heads, tokens, tokens, width // heads)]
    return stem + (projections + attention + [(1, tokens, width, ffn), (1, tokens, ffn, width)]) * deepest


def random_whisper(folder: Path) -> Path:
    """whisper-base's encoder with random weights."""
    import torch
    from safetensors.torch import save_file

    from ser.encoders.whisper import Shape, WhisperEncoder

    torch.manual_seed(0)
    network = WhisperEncoder(Shape.of(WHISPER_BASE, "benchmark"), [WHISPER_BASE["encoder_layers"]])
    folder.mkdir()
    save_file({f"model.encoder.{name}": values.contiguous() for name, values in network.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(WHISPER_BASE))
    return folder


def noise(folder: Path, clips: int) -> Path:
    """A store of clips of noise, 1.2 to 3.5 s."""
    lengths = np.linspace(1.2 * RATE, 3.5 * RATE, clips).astype(int)
    rows: dict[str, Any] = {name: [0 if kind != "string" else ""] * clips for name, kind in COLUMNS.items()}
    rows |= {"clip": [f"{number:06}" for number in range(clips)], "samples": lengths, "offset": np.cumsum([0, *lengths])[:-1]}
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / "clips.csv", index=False)
    np.save(folder / "audio.npy", np.random.default_rng(0).integers(-3000, 3000, lengths.sum(), dtype=np.int16))
    return folder


def measure(weights: str, clips: str, repeats: int) -> None:
    """In a process of its own: seconds of the encoder by the clock, the least of the repeats; peak memory; and
    seconds of the processor for the encoder and for its bare products, turn by turn.
    """
    passive_waiting()
    import torch

    from ser.encoders import encode
    from ser.encoders.frozen import read_config
    from ser.encoders.weights import obtain

    torch.set_num_threads(1)
    settings = Encoder(name="benchmark", layers=LAYERS, path=weights)
    runtime = load().runtime.model_copy(update={"workers": 1, "scheduler": None})
    config = read_config(Path(weights))
    clock: list[float] = []
    encoder: list[float] = []
    products: list[float] = []
    with TemporaryDirectory() as folder:
        found = obtain(settings, mirror=None, cache=Path(folder))
        for _ in range(repeats):
            start, begun = time.perf_counter(), time.process_time()
            encoded = encode.build(Path(clips), Path(folder, "encoded"), RATE, settings, found, runtime, Path(folder))
            encoder.append(time.process_time() - begun)
            clock.append(time.perf_counter() - start)
            tokens = np.diff(encoded.offsets).tolist()
            products.append(bare(tokens, config))
        del encoded
    seconds = sum(tokens) * HOP / RATE - len(tokens) * settings.silence_seconds
    ratios = [b / a for a, b in zip(encoder, products, strict=True)]
    least = {"encode": min(clock), "encode_cpu": min(encoder), "products_cpu": min(products), "fraction": statistics.median(ratios)}
    print(json.dumps({**least, "audio_seconds": seconds, "tokens": sum(tokens), "rss_mb": memory_mb("self", "VmHWM")}))


def bare(tokens: list[int], config: dict[str, Any]) -> float:
    """Seconds of the processor that the matrix products of these clips take, on operands that are there already."""
    import torch

    taken = 0.0
    with torch.inference_mode():
        for count in tokens:
            pairs = [(torch.ones(n, a, b), torch.ones(n, b, c)) for n, a, b, c in products(count, config, LAYERS[-1])]
            begun = time.process_time()
            for left, right in pairs:
                torch.bmm(left, right) if len(left) > 1 else torch.mm(left[0], right[0])
            taken += time.process_time() - begun
    return taken


def main(clips: int, repeats: int, weights: str | None) -> None:
    """Measure, print and write down."""
    with TemporaryDirectory() as folder:
        encoder = weights or str(random_whisper(Path(folder, "whisper")))
        runs = {}
        for times in (1, 4):
            store = noise(Path(folder, f"clips{times}"), times * clips)
            turns = repeats if times == 1 else 1
            runs[times] = child("from benchmarks.encode import measure", f"measure({encoder!r}, {str(store)!r}, {turns})")
    rows = [{"what": f"{times} × {clips} clips", **run} for times, run in runs.items()]
    one, four = runs[1], runs[4]
    figures = {
        "times_real_time": round(one["audio_seconds"] / one["encode"], 2),
        "fraction_of_matmul": round(one["fraction"], 3),
        "rss_growth_at_4x": round(four["rss_mb"] / one["rss_mb"], 3),
        "tokens_per_second": round(one["tokens"] / one["encode"], 1),
    }
    rounded = [{key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()} for row in rows]
    record("encode", figures, rounded, params=load(), sections=("preprocess",))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--clips", type=int, default=60, help="clips of the smaller run (default 60)")
    arguments.add_argument("--repeats", type=int, default=3, help="turns of the smaller run; the least counts (default 3)")
    arguments.add_argument("--weights", metavar="FOLDER", help="a whisper-base instead of random weights")
    options = arguments.parse_args()
    main(options.clips, options.repeats, options.weights)
