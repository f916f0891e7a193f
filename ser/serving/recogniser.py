"""A trained model in Python: ``from ser import load``."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeAlias, TypeVar, overload

import numpy as np

from ser.runtime.files import regular
from ser.serving import references
from ser.serving.bundle import Bundle
from ser.serving.predict import Predictor
from ser.serving.prediction import Prediction
from ser.serving.samples import as_file
from ser.serving.speakers import store
from ser.serving.speakers.enrolment import Enrolment, enrolled
from ser.serving.speakers.profile import Profile
from ser.serving.timeline.moments import HOP, SMOOTH, WINDOW, Timeline, timeline
from ser.signal.audio import AudioError
from ser.signal.stream import MINUTES

Recording = str | Path | np.ndarray
"""A file's path, or samples."""
R = TypeVar("R", bound=Recording)
Speaker: TypeAlias = str | Profile
"""The name of an enrolled speaker, or their profile."""


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
            ValueError: if a number is out of range.
        """
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence: found {min_confidence}; allowed: a probability from 0 to 1")
        if not 0 < max_minutes < math.inf:
            raise ValueError(f"max_minutes: found {max_minutes}; allowed: a number above 0")
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
    def predict(self, recording: Recording, sample_rate: int | None = None, *, speaker: Speaker | None = None) -> Prediction: ...

    @overload
    def predict(
        self, recording: list[R] | tuple[R, ...], sample_rate: int | None = None, *, speaker: Speaker | None = None
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self, recording: Iterator[Recording], sample_rate: int | None = None, *, speaker: Speaker | None = None
    ) -> Iterator[Prediction]: ...

    def predict(
        self, recording: Recording | Iterable[Recording], sample_rate: int | None = None, *, speaker: Speaker | None = None
    ) -> Prediction | list[Prediction] | Iterator[Prediction]:
        """The emotion of one recording, or of several.

        A model with ``normalise: speaker`` takes all recordings of one call as one speaker's.

        Args:
            recording: a path; or samples, numpy float in [−1, 1] or int16, of shape (n,) or (n, channels); or a list, or any iterable,
                of these. A list gives a list, and any other iterable an iterator that judges each recording when it is asked for.
            sample_rate: of samples, in Hz.
            speaker: whose recordings they are, where that is an enrolled speaker's; None: anybody's.

        Returns:
            A prediction for each. Among several, one that cannot be judged has a ``problem`` and leaves the others alone.

        Raises:
            AudioError: if a single recording cannot be judged; of several none raises it.
            OSError: if the file of a single recording cannot be read.
            SerError: if the speaker is not enrolled, or with another model.
            TypeError: if the samples of a single recording have another type, or the speaker is neither a name nor a profile.
            ValueError: if the samples of a single recording have another shape, or no rate or one out of range.
        """
        predictor = self._knowing(speaker)
        if isinstance(recording, Recording):
            return predictor.recording(_name(recording), functools.partial(_opened, recording, sample_rate))
        several = predictor.recordings((_name(one), functools.partial(_one_of_several, one, sample_rate)) for one in recording)
        return list(several) if isinstance(recording, list | tuple) else several

    def timeline(
        self,
        recording: Recording,
        sample_rate: int | None = None,
        *,
        window: float = WINDOW,
        hop: float = HOP,
        smooth: float = SMOOTH,
        speaker: Speaker | None = None,
    ) -> Timeline:
        """Emotion over time in one recording of any length.

        Args:
            recording, sample_rate: as of ``predict``.
            window: seconds that are judged at once.
            hop: seconds from one step to the next.
            smooth: seconds over which probabilities are averaged; 0: not at all.
            speaker: as of ``predict``.

        Raises:
            AudioError: if the recording cannot be judged.
            OSError: if its file cannot be read.
            TypeError, ValueError: as of ``predict``; also for a window, hop or smoothing out of range.
        """
        with _opened(recording, sample_rate) as stream:
            return timeline(self._knowing(speaker), _name(recording), stream, window, hop, smooth)

    def enroll(
        self,
        recordings: Iterable[Recording],
        labels: Sequence[str | None] | None = None,
        sample_rate: int | None = None,
        *,
        name: str | None = None,
    ) -> Enrolment:
        """The profile of a speaker, from a few of their recordings in all moods.

        Args:
            recordings: paths or samples, as of ``predict``.
            labels: the emotion of each, None where it is not known; or None: of none.
            sample_rate: of samples, in Hz.
            name: under which the profile is kept for ``speaker="…"`` and ``ser predict --speaker``; None: it is only returned.

        Raises:
            SerError: if too few can be used, for a label that the model does not have, or if the profile cannot be written.
            TypeError: if ``recordings`` is one recording, or a label is no text.
            ValueError: if there are more or fewer labels than recordings.
        """
        if isinstance(recordings, Recording):
            raise TypeError("recordings: a list of paths or of samples is needed")
        if name is not None:
            store.checked(name)  # before the work
        each = list(recordings)
        known = [None] * len(each) if labels is None else list(labels)
        if wrong := [label for label in known if not isinstance(label, str | None)]:
            raise TypeError(f"labels: found {wrong[0]!r}; allowed: names of emotions, and None")
        opening = ((_name(one), functools.partial(_opened, one, sample_rate), label) for one, label in zip(each, known, strict=True))
        found = enrolled(self._predictor, opening)
        if name is not None:
            store.write(name, found.profile)
        return found

    def _knowing(self, speaker: Speaker | None) -> Predictor:
        if speaker is None:
            return self._predictor
        if not isinstance(speaker, str | Profile):
            raise TypeError(f"speaker: found {speaker!r}; allowed: the name of an enrolled speaker, or a profile")
        return self._predictor.knowing(store.read(speaker) if isinstance(speaker, str) else speaker)


def load(bundle: str | Path | None = None, *, min_confidence: float = 0.0, max_minutes: float = MINUTES) -> Recogniser:
    """A trained model, ready for use.

    Args:
        bundle: a folder, zip or address (``ser.serving.references``), or the name of a bundle in the package; None: the only one in
            ``exports/`` of the folder one is in besides the demo's, else the one in the package.
        min_confidence: probability below which the emotion is ``uncertain``, 0–1.
        max_minutes: longest recording that is read.

    Raises:
        BundleError: if it is missing, damaged, not what its facts say, or if there is a choice.
        ValueError: if a number is out of range.
    """
    folder = references.chosen(bundle)
    return Recogniser(folder, min_confidence, max_minutes)


def _name(recording: Recording) -> str:
    return "" if isinstance(recording, np.ndarray) else str(recording)


def _opened(recording: Recording, sample_rate: int | None) -> IO[bytes]:
    return as_file(recording, sample_rate) if isinstance(recording, np.ndarray) else regular(recording)


def _one_of_several(recording: Recording, sample_rate: int | None) -> IO[bytes]:
    try:
        return _opened(recording, sample_rate)
    except (TypeError, ValueError) as error:
        raise AudioError("unusable", str(error)) from None
