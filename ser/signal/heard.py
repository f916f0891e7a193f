"""The clips of a store and, where they are asked for, spoilt copies of each, as signals: what features and encoders hear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ser.params.features import Copies
from ser.signal import spoiling
from ser.signal.clips import to_float


@dataclass(frozen=True)
class Heard:
    """Rows to be heard: first all clips, then all clips again for each copy. Small enough to be sent to every worker.

    Attributes:
        audio: absolute path of the packed audio.
        starts: (rows,) first sample of each row's clip.
        lengths: (rows,) its samples.
        numbers: (rows,) 0 for the clip itself, k for copy k.
        sample_rate: in Hz.
        settings: how copies are made; None where there are none.
    """

    audio: Path
    starts: np.ndarray
    lengths: np.ndarray
    numbers: np.ndarray
    sample_rate: int
    settings: Copies | None

    @classmethod
    def every(cls, folder: Path, table: pd.DataFrame, sample_rate: int, settings: Copies | None) -> Heard:
        """All clips of a store whose ``clips.csv`` is ``table``, and their copies."""
        times = 1 + (settings.count if settings is not None else 0)
        starts, lengths = (np.tile(table[column].to_numpy(), times) for column in ("offset", "samples"))
        return cls(folder.resolve() / "audio.npy", starts, lengths, np.repeat(np.arange(times), len(table)), sample_rate, settings)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def copies(self) -> int:
        """Copies of each clip."""
        return self.settings.count if self.settings is not None else 0

    def part(self, first: int, count: int) -> Heard:
        """At most ``count`` rows from ``first`` on."""
        own = slice(first, first + count)
        return replace(self, starts=self.starts[own], lengths=self.lengths[own], numbers=self.numbers[own])

    def signals(self) -> Iterator[np.ndarray]:
        """Each row's signal, mono float32 in [−1, 1), as long as its clip."""
        audio = np.asarray(np.load(self.audio, mmap_mode="r", allow_pickle=False))  # a plain array: slices of a memmap are slow
        for start, length, number in zip(self.starts.tolist(), self.lengths.tolist(), self.numbers.tolist(), strict=True):
            signal = to_float(audio[start : start + length])
            if number and self.settings is not None:
                signal = spoiling.copy(signal, self.sample_rate, self.settings, (number, start))
            yield signal
