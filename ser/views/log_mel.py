"""Log-mel: the level of each mel band in dB, raised to a fixed floor."""

from __future__ import annotations

import numpy as np

from ser.views.spectrum import Sound
from ser.views.view import View


class LogMelView(View):
    """The levels of ``n_mels`` bands in dB re power 1."""

    title = "log-mel"

    @property
    def width(self) -> int:
        """One column for each band."""
        return self.features.log_mel.n_mels

    @property
    def bands(self) -> tuple[int, ...]:
        """Its own."""
        return (self.features.log_mel.n_mels,)

    def frames(self, sound: Sound) -> np.ndarray:
        """The levels themselves."""
        return sound.levels[self.features.log_mel.n_mels]

    def silence(self) -> np.ndarray:
        """The floor in every band."""
        return np.full(self.width, self.features.log_mel.floor_db)

    def per_db(self) -> np.ndarray:
        """Every band rises alike."""
        return np.ones(self.width)
