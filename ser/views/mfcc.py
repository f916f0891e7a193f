"""MFCC: the orthonormal DCT-II of mel levels, by default of the log-mel view's own bands."""

from __future__ import annotations

import functools

import numpy as np
import scipy.fft

from ser import SerError
from ser.views.spectrum import Sound
from ser.views.view import View


class MfccView(View):
    """The first ``n_mfcc`` cepstral coefficients of ``n_mels`` bands."""

    title = "MFCC"

    @property
    def width(self) -> int:
        """One column per coefficient."""
        return self.features.mfcc.n_mfcc

    @property
    def bands(self) -> tuple[int, ...]:
        """The bands that the DCT transforms."""
        return (self.features.mfcc.n_mels,)

    def frames(self, sound: Sound) -> np.ndarray:
        """The DCT of the levels."""
        levels = sound.levels[self.features.mfcc.n_mels]
        if self.features.backend == "librosa":
            import librosa  # slow to import, so only on demand

            return np.ascontiguousarray(librosa.feature.mfcc(S=levels.T, n_mfcc=self.width, dct_type=2, norm="ortho").T)
        # In double precision: the first coefficient is in the hundreds.
        return (levels @ self._dct().T).astype(np.float32)

    def silence(self) -> np.ndarray:
        """The floor in every band: the first coefficient has its sum, the others are 0."""
        return self.features.log_mel.floor_db * self.per_db()

    def per_db(self) -> np.ndarray:
        """1 dB more in all bands raises the first coefficient by √n_mels, and no other."""
        return np.concatenate([[self.features.mfcc.n_mels**0.5], np.zeros(self.width - 1)])

    def from_log_mel(self) -> np.ndarray | None:
        """The DCT, if its bands are those of log-mel."""
        return self._dct().T if self.features.mfcc.follows_bands(self.features) else None

    def _dct(self) -> np.ndarray:
        return dct_matrix(self.features.mfcc.n_mels, self.features.mfcc.n_mfcc)


@functools.lru_cache(maxsize=16)
def dct_matrix(n_mels: int, n_mfcc: int) -> np.ndarray:
    """Orthonormal DCT-II, float64 (n_mfcc, n_mels): ``mfcc = log_mel @ dct_matrix(n_mels, n_mfcc).T``."""
    if n_mfcc > n_mels:
        raise SerError(f"features.mfcc: n_mfcc {n_mfcc} must be at most n_mels {n_mels}")
    matrix: np.ndarray = scipy.fft.dct(np.eye(n_mels), type=2, norm="ortho", axis=0)[:n_mfcc]
    matrix.flags.writeable = False
    return matrix
