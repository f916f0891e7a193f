"""White noise added to a recording, for training (``train.augment.noise_domain: waveform``) and for the robustness study."""

from __future__ import annotations

import numpy as np

from ser.signal.clips import to_float, to_int16


def with_noise(signal: np.ndarray, snr_db: float, key: tuple[int, ...]) -> np.ndarray:
    """White Gaussian noise at the ratio of mean powers over the whole clip, as it would be stored: int16 steps, saturated at full scale.

    Args:
        signal: mono float in [−1, 1), shape (samples,), samples ≥ 1.
        snr_db: power of the signal over that of the noise, in dB.
        key: of the random generator; at another ratio the same key gives the same noise, louder or softer.

    Returns:
        float32 in [−1, 1), shape (samples,).
    """
    power = float(np.mean(np.square(signal, dtype=np.float64)))
    noise = np.random.default_rng(key).standard_normal(len(signal))
    return to_float(to_int16(signal + noise * np.sqrt(power / 10 ** (snr_db / 10))))
