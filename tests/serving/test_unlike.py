"""What is said of recordings that are unlike the training clips."""

from __future__ import annotations

import numpy as np
import pytest

from ser.evaluation.degradation import Condition, perturb
from ser.params.features import Copies
from ser.serving.bundle import Typical
from ser.serving.export import write
from ser.serving.unlike import measure, unlike
from tests.encoders.tiny import store

RATE = 16_000
TYPICAL = Typical(clips=1, bandwidth_hz=6900.0, range_db=30.0, clipped=0.001)


def speech() -> np.ndarray:
    """Bursts of full-band sound with near silence between them, float32 (32000,)."""
    random = np.random.default_rng(0)
    gaps = np.repeat(np.where(np.arange(20) % 3 == 0, 1e-3, 0.2), 1600)
    return (gaps * random.uniform(-1, 1, 32_000)).astype(np.float32)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        (Condition("clean"), []),
        (Condition("gain", -12.0), []),
        (Condition("noise", 20.0), ["noisy"]),
        (Condition("noise", 0.0), ["noisy"]),
        (Condition("telephone"), ["bandwidth 3."]),
        (Condition("gain", 30.0), ["clipped"]),
    ],
)
def test_what_the_robustness_study_does_is_noticed(condition: Condition, says: list[str]) -> None:
    found = unlike(measure(perturb(speech(), condition, RATE, (0,)), RATE), TYPICAL)
    assert [phrase[: len(begin)] for phrase, begin in zip(found, says, strict=True)] == says


def test_noise_alone_has_no_range() -> None:
    assert measure(np.random.default_rng(0).normal(0, 0.1, 48_000), RATE).range_db < 3


@pytest.mark.parametrize("signal", [np.zeros(1), np.zeros(8000), np.full(100, 0.5), np.ones(320_000)])
def test_any_clip_can_be_measured(signal: np.ndarray) -> None:
    measured = measure(signal, RATE)
    assert 0 <= measured.bandwidth_hz <= RATE / 2
    assert measured.range_db >= 0
    assert 0 <= measured.clipped <= 1


@pytest.mark.parametrize(("most", "counted"), [(100, 8), (8, 8), (3, 3), (1, 1)])
def test_of_many_clips_and_copies_some_evenly_spaced_tell_what_is_typical(tmp_path, monkeypatch, most: int, counted: int) -> None:
    copies = Copies(count=1, room_share=0.0, noise_share=0.0, babble_share=0.0, snr_db=[0.0, 30.0], line_share=0.0, gain_db=0.0, seed=0)
    folder = store(tmp_path / "clips", [4000, 5000, 6000, 7000])
    heard: list[int] = []
    monkeypatch.setattr(write, "MEASURED", most)
    monkeypatch.setattr(write, "measure", lambda signal, rate: heard.append(len(signal)) or measure(signal, rate))
    assert write.typical_of(folder, RATE, copies).clips == counted == len(heard)
    assert heard == {8: [4000, 5000, 6000, 7000] * 2, 3: [4000, 4000, 7000], 1: [4000]}[counted]
