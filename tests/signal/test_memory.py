"""How much memory a long recording takes, in a process of its own: a multiple of its decoded values as float32."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
VALUES = 1 << 25
"""Decoded values; one eighth of the largest number, ``ser.signal.audio.MAX_POINTS``."""

CHILD = """
import resource, stages, sys
from ser.params import load
from ser.signal import audio, preprocessing
params = load("params.yaml").preprocess
small, large = (open(path, "rb").read() for path in sys.argv[2:])
preprocessing.prepare(small, params)  # what is loaded on first use
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
preprocessing.prepare(large, params) if sys.argv[1] == "prepare" else audio.decode(large, 16000)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def recording(values: int, rate: int, channels: int) -> bytes:
    """A FLAC of 24 bit, which is decoded to float32; packed it is small, so that it does not count itself."""
    cycle = np.round(np.sin(np.arange(rate // 100) * 0.3) * 20) / 256
    sound = np.tile(cycle, values // channels // len(cycle) + 1)[: values // channels]
    sound[len(sound) // 2 :] *= 0.125
    packed = io.BytesIO()
    with soundfile.SoundFile(packed, "w", rate, channels, "PCM_24", format="FLAC") as file:
        for start in range(0, len(sound), 1 << 20):
            file.write(np.repeat(sound[start : start + (1 << 20), None], channels, axis=1))
    return packed.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
@pytest.mark.parametrize(
    ("what", "rate", "channels", "most"),
    [("decode", 16000, 1, 1.3), ("prepare", 16000, 1, 2.6), ("prepare", 48000, 1, 2.6), ("prepare", 48000, 2, 2.6)],
)
def test_a_long_recording_takes_no_more_memory_than_is_said(tmp_path: Path, what: str, rate: int, channels: int, most: float) -> None:
    (tmp_path / "small.flac").write_bytes(recording(4 * rate * channels, rate, channels))
    (tmp_path / "large.flac").write_bytes(recording(VALUES, rate, channels))
    command = [sys.executable, "-c", CHILD, what, str(tmp_path / "small.flac"), str(tmp_path / "large.flac")]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(done.stdout) / (4 * VALUES) < most
