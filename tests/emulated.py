"""Compute a little of everything that weights and scores depend on, and print a hash of each: ``python tests/emulated.py FUSION…``.

``tests/test_emulated.py`` runs it on this processor and on emulated ones, and compares what it prints.
"""

from __future__ import annotations

# isort: off
import stages  # noqa: F401  (before numpy and torch: it chooses their kernels)
import os

if os.environ.get("EMULATED"):  # qemu 7.2 ends where numpy sorts with AVX2, so there numpy does without
    os.environ["NPY_DISABLE_CPU_FEATURES"] += " X86_V3"
# isort: on

import hashlib
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import soxr

from ser.encoders import whisper_mel
from ser.evaluation import calibration, intervals
from ser.model import baseline, linear
from ser.params.features import Copies
from ser.runtime import kernels
from ser.signal import spoiling, vad
from ser.training import device, loop, without_epochs
from ser.views import features
from tests import made

COPIES = Copies(count=8, room_share=0.5, noise_share=0.8, babble_share=0.5, snr_db=[0.0, 30.0], line_share=0.7, gain_db=6.0, seed=0)


def main() -> None:
    """Print a line per result: its name, a space, its hash."""
    assert kernels.now() == "portable"
    warnings.simplefilter("ignore")
    params = made.params()
    device.set_up(params.runtime.model_copy(update={"device": "cpu"}))
    random = np.random.default_rng(0)
    signal = ((random.random(12_000) - 0.5) * np.sin(np.arange(12_000) * 0.01)).astype(np.float32)
    for name, values in features.exact(signal, 16_000, params.features).items():
        told(f"features {name}", values)
    told("spoilt copies", *(spoiling.copy(signal, 16_000, COPIES, (number,)) for number in range(8)))
    told("whisper's log-mel", whisper_mel.log_mel(signal, 80))
    told("resampled", soxr.resample(signal, 22_050, 16_000, quality="HQ"))
    told("speech", vad.segments(signal, 16_000, params.preprocess.vad))

    vectors, target = random.standard_normal((60, 48)).astype(np.float32), np.arange(60) % 6
    found = linear.fit(vectors, target, np.arange(40), np.arange(40, 60), [1, 2, 3], 6, params.model.linear)
    told("linear", *(value.numpy() for value in found.machine.state_dict().values()))
    machine = baseline.fit(vectors.astype(np.float64), target, 6)
    told("svm", *(value.numpy() for value in machine.state_dict().values()))

    probabilities = random.random((60, 6))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    told("temperature", np.array(calibration.fit_temperature(probabilities, target)))
    told("interval", np.array(intervals.interval(random.random(500), 0.95, 8)))
    for fusion in sys.argv[1:]:
        told(fusion, *trained(fusion))


def trained(fusion: str) -> list[np.ndarray]:
    """Weights, losses and scores of one epoch with this fusion, with every kind of augmentation."""
    params = made.params(model__fusion=fusion, train__epochs=1, train__augment__mixup_alpha=0.2)
    rows = np.arange(12)
    with tempfile.TemporaryDirectory() as folder:
        parts = without_epochs.Fold(1, 0, rows[rows % 4 != 3], rows[rows % 4 == 3], Path(folder) / "fold1.safetensors")
        weights, history = loop.train_fold(made.corpus(params, clips=12), parts, made.trained(params), lambda line: None)
    return [*(weights[name].numpy() for name in sorted(weights)), np.array([[row["train_loss"], row["valid_loss"]] for row in history])]


def told(name: str, *values: np.ndarray) -> None:
    """Print the hash of arrays."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(np.ascontiguousarray(value).tobytes())
    print(name, digest.hexdigest()[:16], flush=True)


if __name__ == "__main__":
    main()
