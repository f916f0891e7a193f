"""The recordings behind the frames, for training that adds noise before features are computed
(``train.augment.noise_domain``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser.params.features import Features
from ser.signal.clips import to_float
from ser.signal.noise import with_noise
from ser.views import features


@dataclass(frozen=True)
class Recordings:
    """The recordings behind the frames of a corpus.

    Attributes:
        audio: int16, all clips back to back, read from disk as needed.
        start: (clips,) first sample of each clip.
        samples: (clips,) number of samples of each clip.
        sample_rate: in Hz.
        features: how frames are computed.
    """

    audio: np.ndarray
    start: np.ndarray
    samples: np.ndarray
    sample_rate: int
    features: Features

    def noisy_frames(self, clip: int, snr_db: float, key: tuple[int, ...]) -> dict[str, np.ndarray]:
        """All views of clip number ``clip`` under noise, as ``ser.views.features.extract`` gives them; as
        many frames as without.
        """
        start = int(self.start[clip])
        signal = to_float(self.audio[start : start + int(self.samples[clip])])
        return features.extract(with_noise(signal, snr_db, key), self.sample_rate, self.features)


def recordings(folder: Path, table: pd.DataFrame, sample_rate: int, params: Features) -> Recordings:
    """Open the audio of a clips folder whose ``clips.csv`` is ``table``."""
    audio = np.asarray(np.load(folder / "audio.npy", mmap_mode="r", allow_pickle=False))  # a plain view: slices of a memmap are slow
    return Recordings(audio, table["offset"].to_numpy(), table["samples"].to_numpy(), sample_rate, params)
