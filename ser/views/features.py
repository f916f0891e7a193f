"""All views of a signal, and the reader of the packed frames that ``ser/views/extraction.py`` writes.

Numpy and scipy.fft only, no torch: training and the exported predictor run this code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser import SerError
from ser.encoders import store
from ser.encoders.store import Encoded, EncoderFacts
from ser.params.features import Features
from ser.runtime.reading import DamagedError, read_array, read_offsets
from ser.views import spectrum
from ser.views.log_mel import LogMelView
from ser.views.mfcc import MfccView
from ser.views.view import View

VIEWS: dict[str, type[View]] = {"log_mel": LogMelView, "mfcc": MfccView}
"""All views, by the name of their section of ``features``. Add a view here (docs/extending.md)."""

DELTA_REACH = 4
"""Frames on each side in the regression of the deltas (librosa's width 9)."""


@dataclass(frozen=True)
class Views:
    """The frames of a corpus, all clips back to back, read from disk as needed.

    Attributes:
        frames: of each view by its name, float16 (frames, columns).
        offsets: int64 (rows + 1): row i owns frames ``offsets[i]:offsets[i + 1]``. Rows are the clips in the
            order of ``clips.csv``, then all of them again for each copy.
        functionals: float32 (rows, n) of openSMILE, where ``features.functionals`` asks for them.
        encoded: hidden states of the same rows, where a model reads them.
        copies: copies of each clip (``features.copies``).
    """

    frames: dict[str, np.ndarray]
    offsets: np.ndarray
    functionals: np.ndarray | None = None
    encoded: Encoded | None = None
    copies: int = 0

    def __len__(self) -> int:
        """Number of clips; copies do not count."""
        return (len(self.offsets) - 1) // (1 + self.copies)

    def without_copies(self) -> Views:
        """The clips alone."""
        offsets = self.offsets[: len(self) + 1]
        frames = {name: values[: int(offsets[-1])] for name, values in self.frames.items()}
        functionals = None if self.functionals is None else self.functionals[: len(self)]
        return Views(frames, offsets, functionals, None if self.encoded is None else self.encoded.without_copies())

    def clip(self, row: int) -> dict[str, np.ndarray]:
        """The views of a row, (frames, columns) each."""
        own = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return {name: frames[own] for name, frames in self.frames.items()}


def read(folder: str | Path, features: Features, encoded: str | Path | None = None) -> Views:
    """Open a features folder; the frames stay on disk until they are used.

    Args:
        folder: what the features stage wrote.
        features: section ``features``, which names the views.
        encoded: what the encode stage wrote, where a model reads hidden states.

    Raises:
        ser.runtime.reading.DamagedError: when an array is damaged, or the arrays do not belong together.
        SerError: if hidden states are asked for and none were encoded.
    """
    folder = Path(folder)
    corpus = folder.name
    offsets = read_offsets(folder / "offsets.npy", "features", corpus)
    copies = features.copies.count if features.copies is not None else 0
    if (len(offsets) - 1) % (1 + copies):
        raise DamagedError(folder / "offsets.npy", "features", corpus, f"{len(offsets) - 1} rows are not clips and {copies} copies of each")
    frames = {
        name: read_array(folder / f"{name}.npy", "features", corpus, np.float16, (width,)) for name, width in widths(features).items()
    }
    for name, values in frames.items():
        if len(values) != offsets[-1]:
            reason = f"it holds {len(values)} frames, offsets.npy counts {offsets[-1]}"
            raise DamagedError(folder / f"{name}.npy", "features", corpus, reason)
    functionals = None
    if (folder / "functionals.npy").exists():
        functionals = read_array(folder / "functionals.npy", "features", corpus, np.float32, (None,))
        if len(functionals) != len(offsets) - 1:
            reason = f"it holds {len(functionals)} rows, offsets.npy counts {len(offsets) - 1}"
            raise DamagedError(folder / "functionals.npy", "features", corpus, reason)
    hidden = None
    if encoded is not None:
        hidden = store.read(encoded)
        if hidden is None:
            raise SerError(f"{encoded} holds no hidden states (features.encoder was null): run encode again")
    return Views(frames, offsets, functionals, hidden, copies)


def pack(clips: Iterable[dict[str, np.ndarray]], encoder: EncoderFacts | None = None) -> Views:
    """Pack the features of clips in memory, in the layout of the files.

    Args:
        clips: ``ser.views.extraction.clip_features`` of at least one clip; with an encoder also its hidden states,
            as ``encoder``.
        encoder: the encoder of these hidden states.
    """
    each = list(clips)
    packed = {name: np.concatenate([clip[name] for clip in each]) for name in each[0]}
    functionals, states = packed.pop("functionals", None), packed.pop("encoder", None)
    offsets = np.cumsum([0, *(frames_of(clip) for clip in each)], dtype=np.int64)
    encoded = None
    if encoder is not None and states is not None:
        encoded = Encoded(states, np.cumsum([0, *(len(clip["encoder"]) for clip in each)], dtype=np.int64), encoder.model_dump())
    return Views(packed, offsets, functionals, encoded)


def frames_of(clip: dict[str, np.ndarray]) -> int:
    """Number of frames of a clip, from its features; all views have as many."""
    return next(len(values) for name, values in clip.items() if name not in ("functionals", "encoder"))


def extract(signal: np.ndarray, sample_rate: int, features: Features) -> dict[str, np.ndarray]:
    """All views of one signal, rounded to float16 for storage.

    float16 keeps 11 significant bits, so the error of a value v is at most |v| / 2048. For log-mel in (−128,
    128) dB that is 0.03 dB, while the level of a band changes by several dB from frame to frame.

    Args:
        signal: mono float in [−1, 1], shape (n,), n ≥ 1.
        sample_rate: in Hz.
        features: frames, bands, floor, deltas, backend.

    Returns:
        Each view by name, float16 (frames, columns), frames = ``frame_count(n)`` ≥ 1: ``log_mel`` in dB re
        power 1, ``mfcc``, …; with ``deltas`` all are twice as wide, the slopes per frame in the second half.

    Raises:
        SerError: when the bands do not fit under half the sample rate.
    """
    return {name: values.astype(np.float16) for name, values in exact(signal, sample_rate, features).items()}


def exact(signal: np.ndarray, sample_rate: int, features: Features) -> dict[str, np.ndarray]:
    """The views in float32, before they are rounded to float16; see ``extract``."""
    views = chosen(features)
    sound = spectrum.sound(signal, sample_rate, features, dict.fromkeys(count for view in views.values() for count in view.bands))
    frames = {name: view.frames(sound) for name, view in views.items()}
    return {name: with_deltas(values) for name, values in frames.items()} if features.deltas else frames


def chosen(features: Features) -> dict[str, View]:
    """The views that these parameters ask for, by name, in the order of their sections."""
    return {name: VIEWS[name](features) for name in features.views}


def widths(features: Features) -> dict[str, int]:
    """Columns of each view, with its deltas."""
    return {name: (2 if features.deltas else 1) * view.width for name, view in chosen(features).items()}


def silence(features: Features) -> dict[str, np.ndarray]:
    """A frame of digital silence in each view, float32 (columns,); its deltas are 0."""
    return {name: _flat(view.silence(), features) for name, view in chosen(features).items()}


def per_db(features: Features) -> dict[str, np.ndarray]:
    """What 1 dB more level adds to the columns of each view, float32 (columns,); 0 for deltas."""
    return {name: _flat(view.per_db(), features) for name, view in chosen(features).items()}


def from_log_mel(features: Features) -> dict[str, np.ndarray]:
    """For each view that is linear in log-mel: the matrix, float32 (bands, columns)."""
    matrices = {name: view.from_log_mel() for name, view in chosen(features).items()}
    return {name: matrix.astype(np.float32) for name, matrix in matrices.items() if matrix is not None}


def empty_bands(sample_rate: int, features: Features) -> dict[str, int]:
    """Number of mel bands of each view that lie between two FFT bins and so are always at the floor."""
    filters = {
        name: [spectrum.band_filters(sample_rate, features, count) for count in view.bands] for name, view in chosen(features).items()
    }
    return {name: sum(int((bank.max(axis=1) == 0).sum()) for bank in banks) for name, banks in filters.items()}


def with_deltas(values: np.ndarray) -> np.ndarray:
    """Append the slope of each column per frame, by least squares over 9 frames: (frames, d) → (frames, 2 d).

    Young et al., The HTK Book: Δ_t = Σ_k k (c_{t+k} − c_{t−k}) / (2 Σ_k k²), k = 1 … 4.
    """
    padded = np.pad(values, ((DELTA_REACH, DELTA_REACH), (0, 0)), mode="edge")
    slopes, frames = np.zeros_like(values), len(values)
    for k in range(1, DELTA_REACH + 1):
        ahead, behind = padded[DELTA_REACH + k :][:frames], padded[DELTA_REACH - k :][:frames]
        slopes += np.float32(k) * (ahead - behind)
    return np.concatenate([values, slopes / np.float32(2 * sum(k * k for k in range(1, DELTA_REACH + 1)))], axis=1)


def _flat(frame: np.ndarray, features: Features) -> np.ndarray:
    """The columns of a view, with zeros for its deltas if there are deltas."""
    return np.pad(frame, (0, len(frame) if features.deltas else 0)).astype(np.float32)
