"""White noise on a recording, for augmentation (``noise_domain: waveform``) and the robustness study."""

from __future__ import annotations

import numpy as np

from ser.signal.clips import to_float, to_int16


def with_noise(signal: np.ndarray, snr_db: float, key: tuple[int, ...]) -> np.ndarray:
    """Add white Gaussian noise and round to int16 as in the store.

    The SNR is the ratio of mean powers of the whole clip.

    Args:
        signal: mono float in [−1, 1), shape (samples,), samples ≥ 1.
        snr_db: power of the signal over that of the noise, in dB.
        key: seed of the random generator; the same key gives the same noise at every SNR, up to its level.

    Returns:
        float32 in [−1, 1), shape (samples,).
    """
    power = float(np.mean(np.square(signal, dtype=np.float64)))
    noise = np.random.default_rng(key).standard_normal(len(signal))
    return to_float(to_int16(signal + noise * np.sqrt(power / 10 ** (snr_db / 10))))
