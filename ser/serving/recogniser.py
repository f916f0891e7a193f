"""A trained model in Python: ``from ser import load``."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TypeVar, overload

import numpy as np
import soundfile as sf

from ser.serving import references
from ser.serving.bundle import Bundle
from ser.serving.predict import Predictor
from ser.serving.prediction import Prediction
from ser.serving.timeline import HOP, SMOOTH, WINDOW, Timeline, timeline
from ser.signal.audio import RATES, AudioError
from ser.signal.stream import MINUTES

Recording = str | Path | np.ndarray
"""A file's path, or samples."""
R = TypeVar("R", bound=Recording)
MOST_CHANNELS = 64
"""More are samples whose axes were confused."""


class Recogniser:
    """A bundle, ready for use; several threads may share one.

    >>> from ser import load
    >>> model = load("exports/demo")  # doctest: +SKIP
    >>> model.predict("x.wav").emotion  # doctest: +SKIP
    'happy'
    """

    def __init__(self, folder: str | Path, min_confidence: float = 0.0, max_minutes: float = MINUTES) -> None:
        """Open and check a bundle.

        Args:
            folder: the bundle.
            min_confidence: probability below which the emotion is ``uncertain``, 0–1.
            max_minutes: longest recording that is read.

        Raises:
            BundleError: if it is missing, damaged, or not what its facts say.
        """
        self._predictor = Predictor(folder, min_confidence, max_minutes)

    @property
    def bundle(self) -> Bundle:
        """What the model is: classes, score, licence, encoder."""
        return self._predictor.bundle

    @property
    def classes(self) -> list[str]:
        """The emotions, in the order of the probabilities."""
        return self.bundle.classes

    @overload
    def predict(self, recording: Recording, sample_rate: int | None = None) -> Prediction: ...

    @overload
    def predict(self, recording: list[R] | tuple[R, ...], sample_rate: int | None = None) -> list[Prediction]: ...

    @overload
    def predict(self, recording: Iterator[Recording], sample_rate: int | None = None) -> Iterator[Prediction]: ...

    def predict(
        self, recording: Recording | Iterable[Recording], sample_rate: int | None = None
    ) -> Prediction | list[Prediction] | Iterator[Prediction]:
        """The emotion of one recording, or of several.

        A model with ``normalise: speaker`` takes all recordings of one call as one speaker's.

        Args:
            recording: a path; or samples, numpy float in [−1, 1] or int16, of shape (n,) or (n, channels); or a list, or any iterable,
                of these. A list gives a list, and any other iterable an iterator that judges each recording when it is asked for.
            sample_rate: of samples, in Hz.

        Returns:
            A prediction for each. Among several, one that cannot be judged has a ``problem`` and leaves the others alone.

        Raises:
            AudioError: if a single recording cannot be judged; of several none raises it.
            OSError: if the file of a single recording cannot be read.
            TypeError: if samples have another type.
            ValueError: if samples have another shape, or no rate or one out of range.
        """
        if isinstance(recording, Recording):
            return self._one(recording, sample_rate)
        several = self._several(recording, sample_rate)
        return list(several) if isinstance(recording, list | tuple) else several

    def timeline(
        self,
        recording: Recording,
        sample_rate: int | None = None,
        *,
        window: float = WINDOW,
        hop: float = HOP,
        smooth: float = SMOOTH,
    ) -> Timeline:
        """Emotion over time in one recording of any length.

        Args:
            recording, sample_rate: as of ``predict``.
            window: seconds that are judged at once.
            hop: seconds from one step to the next.
            smooth: seconds over which probabilities are averaged; 0: not at all.

        Raises:
            AudioError: if the recording cannot be judged.
            OSError: if its file cannot be read.
            TypeError, ValueError: as of ``predict``; also for a window, hop or smoothing out of range.
        """
        with _opened(recording, sample_rate) as stream:
            return timeline(self._predictor, _name(recording), stream, window, hop, smooth)

    def _one(self, recording: Recording, sample_rate: int | None) -> Prediction:
        return self._predictor.recording(_name(recording), functools.partial(_opened, recording, sample_rate))

    def _several(self, recordings: Iterable[Recording], sample_rate: int | None) -> Iterator[Prediction]:
        return self._predictor.recordings((_name(one), functools.partial(_opened, one, sample_rate)) for one in recordings)


def load(bundle: str | Path | None = None, *, min_confidence: float = 0.0, max_minutes: float = MINUTES) -> Recogniser:
    """A trained model, ready for use.

    Args:
        bundle: a folder, zip or address (``ser.serving.references``), or the name of a bundle in the package; None: the only one in
            ``exports/`` of the folder one is in besides the demo's, else the one in the package.
        min_confidence: probability below which the emotion is ``uncertain``, 0–1.
        max_minutes: longest recording that is read.

    Raises:
        BundleError: if it is missing, damaged, not what its facts say, or if there is a choice.
    """
    folder = references.default(Path("exports")) if bundle is None else references.opened(bundle)
    return Recogniser(folder, min_confidence, max_minutes)


def _name(recording: Recording) -> str:
    return "" if isinstance(recording, np.ndarray) else str(recording)


def _opened(recording: Recording, sample_rate: int | None) -> IO[bytes]:
    """A recording as a file has it. Samples become an uncompressed file in memory, so that they are read and checked as all others are."""
    if not isinstance(recording, np.ndarray):
        return Path(recording).open("rb")
    if sample_rate is None or not RATES[0] <= sample_rate <= RATES[1]:
        raise ValueError(f"sample_rate: found {sample_rate}; samples need a rate from {RATES[0]} to {RATES[1]} Hz")
    if recording.dtype != np.int16 and not np.issubdtype(recording.dtype, np.floating):
        raise TypeError(f"samples of type {recording.dtype}; allowed: int16, and float in [−1, 1]")
    if recording.ndim not in (1, 2) or (recording.ndim == 2 and not 1 <= recording.shape[1] <= MOST_CHANNELS):
        raise ValueError(f"samples of shape {recording.shape}; allowed: (n,) or (n, channels) with 1 to {MOST_CHANNELS} channels")
    if not len(recording):
        raise AudioError("empty", "no samples")
    whole = recording.dtype == np.int16
    file = io.BytesIO()
    sf.write(file, recording if whole else recording.astype(np.float32), sample_rate, "PCM_16" if whole else "FLOAT", format="WAV")
    file.seek(0)
    return file
