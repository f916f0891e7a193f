"""Log-mel and MFCC of a signal, and the reader of a corpus's packed frames (``ser/views/extraction.py`` writes them).

One implementation in numpy and scipy.fft, without torch, so that an exported predictor runs the very same code as training did. Its values
are librosa's: ``melspectrogram(center=True, pad_mode="constant")``, ``power_to_db(ref=1, top_db=None)`` above a fixed floor, orthonormal
DCT-II. ``backend: librosa`` computes the same through librosa and is what the tests hold this one against.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft

from ser import SerError
from ser.params.features import Features, Frames

VIEWS = ("log_mel", "mfcc")

DELTA_REACH = 4
"""Frames on each side in the regression of the deltas (librosa's width 9)."""

_BLOCK_POINTS = 1 << 15
"""Points of the FFTs done at once: the spectra stay in the cache (twice the speed), and an hour needs no more memory than a second."""


@dataclass(frozen=True)
class Views:
    """The frames of a corpus, all clips back to back, read from disk as needed.

    Attributes:
        log_mel: float16 (frames, bands) in dB.
        mfcc: float16 (frames, coefficients).
        offsets: int64 (clips + 1): clip i owns frames ``offsets[i]:offsets[i + 1]``, in the row order of ``clips.csv``.
        functionals: float32 (clips, n) of openSMILE, where ``features.functionals`` asks for them.
    """

    log_mel: np.ndarray
    mfcc: np.ndarray
    offsets: np.ndarray
    functionals: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def clip(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Log-mel (frames, bands) and MFCC (frames, coefficients) of clip number ``row``."""
        frames = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return self.log_mel[frames], self.mfcc[frames]


def read(folder: str | Path) -> Views:
    """Open a features folder; the frames stay on disk until they are used.

    Raises:
        SerError: when the arrays do not belong together.
    """
    folder = Path(folder)
    log_mel, mfcc = (np.load(folder / f"{view}.npy", mmap_mode="r", allow_pickle=False) for view in VIEWS)
    offsets = np.load(folder / "offsets.npy", allow_pickle=False)
    if not len(log_mel) == len(mfcc) == offsets[-1]:
        raise SerError(f"{folder}: {len(log_mel)} log-mel and {len(mfcc)} MFCC frames for {offsets[-1]} in offsets.npy; run features again")
    functionals = None
    if (folder / "functionals.npy").exists():
        functionals = np.load(folder / "functionals.npy", mmap_mode="r", allow_pickle=False)
        if len(functionals) != len(offsets) - 1:
            raise SerError(f"{folder}: functionals of {len(functionals)} clips, frames of {len(offsets) - 1}; run features again")
    return Views(log_mel, mfcc, offsets, functionals)


def extract(signal: np.ndarray, sample_rate: int, features: Features) -> dict[str, np.ndarray]:
    """Both views of one signal as they are stored.

    float16 keeps 11 significant bits: a value v is off by at most |v| / 2048, so 0.03 dB for log-mel in (−128, 128) dB, where a
    band's level moves by several dB from one frame to the next.

    Args:
        signal: mono float in [−1, 1], shape (n,), n ≥ 1.
        sample_rate: in Hz.
        features: frames, bands, floor, deltas, backend.

    Returns:
        ``log_mel`` float16 (frames, bands) in dB re power 1 and ``mfcc`` float16 (frames, coefficients), frames = ``frame_count(n)`` ≥ 1;
        with ``deltas`` both are twice as wide, the slopes per frame in the second half.

    Raises:
        SerError: when the bands do not fit under half the sample rate.
    """
    views = log_mel_and_mfcc(signal, sample_rate, features)
    return {view: values.astype(np.float16) for view, values in zip(VIEWS, views, strict=True)}


def log_mel_and_mfcc(signal: np.ndarray, sample_rate: int, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Both views in float32, before they are rounded to float16; see ``extract``."""
    compute = _by_librosa if features.backend == "librosa" else _natively
    views = compute(signal, sample_rate, features)
    return (with_deltas(views[0]), with_deltas(views[1])) if features.deltas else views


def widths(features: Features) -> dict[str, int]:
    """Columns of each view."""
    times = 2 if features.deltas else 1
    return {"log_mel": times * features.log_mel.n_mels, "mfcc": times * features.mfcc.n_mfcc}


def frame_count(length: int, frames: Frames) -> int:
    """Frames of a signal of ``length`` values: the first is centred on value 0, and so on by hops, as far as the signal reaches."""
    return 1 + (length - frames.n_fft % 2) // frames.hop_length if length > 0 else 0


@functools.lru_cache(maxsize=16)
def dct_matrix(n_mels: int, n_mfcc: int) -> np.ndarray:
    """Orthonormal DCT-II, float64 (n_mfcc, n_mels): ``mfcc = log_mel @ dct_matrix(n_mels, n_mfcc).T``, in training's mel domain too."""
    if n_mfcc > n_mels:
        raise SerError(f"features.mfcc: n_mfcc {n_mfcc} must be at most n_mels {n_mels}")
    matrix: np.ndarray = scipy.fft.dct(np.eye(n_mels), type=2, norm="ortho", axis=0)[:n_mfcc]
    matrix.flags.writeable = False
    return matrix


@functools.lru_cache(maxsize=16)
def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float | None) -> np.ndarray:
    """Triangular filters on Slaney's mel scale, each of area 1 over Hz: float32 (n_mels, n_fft // 2 + 1), equal to librosa's.

    The scale is linear (3 mel per 200 Hz) below 1 kHz and logarithmic (27 mel per factor 6.4) above: Slaney, Auditory Toolbox, 1998.

    Raises:
        SerError: when ``fmin`` < ``fmax`` ≤ half the sample rate does not hold.
    """
    fmax = sample_rate / 2 if fmax is None else fmax
    if not fmin < fmax <= sample_rate / 2:
        raise SerError(
            f"features.log_mel: fmin {fmin:g} Hz < fmax {fmax:g} Hz ≤ {sample_rate / 2:g} Hz (half of preprocess.sample_rate) "
            "does not hold; lower fmax, or set it to null for half the sample rate"
        )
    bins = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)  # Hz
    edges = _mel_to_hz(np.linspace(_hz_to_mel(fmin), _hz_to_mel(fmax), n_mels + 2))
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    area = (edges[2:] - edges[:-2])[:, None] / 2
    filters: np.ndarray = (np.maximum(0, np.minimum(rising, falling)) / area).astype(np.float32)
    filters.flags.writeable = False
    return filters


def with_deltas(values: np.ndarray) -> np.ndarray:
    """Append each column's slope per frame, by least squares over 9 frames, the ends repeated: (frames, d) → (frames, 2 d).

    Young et al., The HTK Book: Δ_t = Σ_k k (c_{t+k} − c_{t−k}) / (2 Σ_k k²), k = 1 … 4.
    """
    padded = np.pad(values, ((DELTA_REACH, DELTA_REACH), (0, 0)), mode="edge")
    slopes, frames = np.zeros_like(values), len(values)
    for k in range(1, DELTA_REACH + 1):
        ahead, behind = padded[DELTA_REACH + k :][:frames], padded[DELTA_REACH - k :][:frames]
        slopes += np.float32(k) * (ahead - behind)
    return np.concatenate([values, slopes / np.float32(2 * sum(k * k for k in range(1, DELTA_REACH + 1)))], axis=1)


def empty_bands(sample_rate: int, features: Features) -> dict[str, int]:
    """Bands of each view that lie between two FFT bins and so hold nothing but the floor."""
    counts = {
        view: _filters(sample_rate, features, section.n_mels) for view, section in (("log_mel", features.log_mel), ("mfcc", features.mfcc))
    }
    return {view: int((filters.max(axis=1) == 0).sum()) for view, filters in counts.items()}


def _natively(signal: np.ndarray, sample_rate: int, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Both views without deltas: one spectrum for the two, and one set of bands where they agree."""
    frames, floor = features.frames, features.log_mel.floor_db
    bands = (features.log_mel.n_mels, features.mfcc.n_mels)
    filters = {n_mels: _filters(sample_rate, features, n_mels).T for n_mels in bands}
    window = _window(frames.window, frames.win_length)
    # Outside the window a frame of n_fft values is zero: only the values under it are cut out, and the FFT fills up with
    # zeros behind them, which turns the phase and leaves the power.
    before = frames.n_fft // 2 - (frames.n_fft - frames.win_length) // 2
    count = frame_count(len(signal), frames)
    span = (count - 1) * frames.hop_length + frames.win_length
    padded = np.zeros(max(span, before + len(signal)), dtype=np.float32)
    padded[before : before + len(signal)] = signal
    cut = np.lib.stride_tricks.sliding_window_view(padded, frames.win_length)[:: frames.hop_length]  # (count or more, win_length)
    levels = {n_mels: np.empty((count, n_mels), dtype=np.float32) for n_mels in bands}
    # In double precision: a full-scale tone's rounding errors in single precision lie above the floor of the silent bands.
    block = np.zeros((min(count, max(1, _BLOCK_POINTS // frames.n_fft)), frames.n_fft))
    for start in range(0, count, len(block)):
        stop = min(start + len(block), count)
        windowed = block[: stop - start]
        np.multiply(cut[start:stop], window, out=windowed[:, : frames.win_length])
        spectrum = scipy.fft.rfft(windowed, axis=1)  # (frames, n_fft // 2 + 1)
        squares = np.square(spectrum.view(np.float64), out=spectrum.view(np.float64))  # real and imaginary parts side by side
        power = (squares[:, ::2] + squares[:, 1::2]).astype(np.float32)
        for n_mels, weights in filters.items():
            levels[n_mels][start:stop] = _decibels(power @ weights, floor)
    mfcc = levels[bands[1]] @ dct_matrix(bands[1], features.mfcc.n_mfcc).T  # double again: the first coefficient is in the hundreds
    return levels[bands[0]], mfcc.astype(np.float32)


def _by_librosa(signal: np.ndarray, sample_rate: int, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """``_natively`` by librosa's own functions."""
    import librosa  # slow to import and to compile: only where it is asked for

    frames, floor = features.frames, features.log_mel.floor_db
    levels = []
    for n_mels in (features.log_mel.n_mels, features.mfcc.n_mels):
        _filters(sample_rate, features, n_mels)  # refuses the same bands
        power = librosa.feature.melspectrogram(
            y=np.asarray(signal, dtype=np.float32),
            sr=sample_rate,
            n_fft=frames.n_fft,
            win_length=frames.win_length,
            hop_length=frames.hop_length,
            window=frames.window,
            center=True,
            pad_mode="constant",
            power=2.0,
            n_mels=n_mels,
            fmin=features.log_mel.fmin,
            fmax=features.log_mel.fmax,
        )
        levels.append(librosa.power_to_db(power, ref=1.0, amin=10 ** (floor / 10), top_db=None))
    mfcc = librosa.feature.mfcc(S=levels[1], n_mfcc=features.mfcc.n_mfcc, dct_type=2, norm="ortho")
    return np.ascontiguousarray(levels[0].T), np.ascontiguousarray(mfcc.T)


def _decibels(power: np.ndarray, floor_db: float) -> np.ndarray:
    levels: np.ndarray = np.maximum(np.float32(10) * np.log10(np.maximum(power, np.float32(1e-30))), np.float32(floor_db))
    return levels


def _filters(sample_rate: int, features: Features, n_mels: int) -> np.ndarray:
    return mel_filterbank(sample_rate, features.frames.n_fft, n_mels, features.log_mel.fmin, features.log_mel.fmax)


def _hz_to_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.power(6.4, (mel - 15) / 27))


@functools.lru_cache(maxsize=4)
def _window(shape: str, length: int) -> np.ndarray:
    offset = 0.5 if shape == "hann" else 0.54
    window: np.ndarray = offset - (1 - offset) * np.cos(2 * np.pi * np.arange(length) / length)  # periodic
    window.flags.writeable = False
    return window
