"""Log-mel: the level of each mel band in dB, with a fixed floor."""

from __future__ import annotations

import numpy as np

from ser.views.spectrum import Sound
from ser.views.view import View


class LogMelView(View):
    """The levels of ``n_mels`` bands in dB re power 1."""

    title = "log-mel"

    @property
    def width(self) -> int:
        """One column per band."""
        return self.features.log_mel.n_mels

    @property
    def bands(self) -> tuple[int, ...]:
        """Its own bands."""
        return (self.features.log_mel.n_mels,)

    def frames(self, sound: Sound) -> np.ndarray:
        """The levels themselves."""
        return sound.levels[self.features.log_mel.n_mels]

    def silence(self) -> np.ndarray:
        """The floor in every band."""
        return np.full(self.width, self.features.log_mel.floor_db)

    def per_db(self) -> np.ndarray:
        """1 dB in every band."""
        return np.ones(self.width)
