"""An exported bundle applied to recordings, by the code that prepared the training clips. Imports neither torch nor DVC."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from ser import SerError
from ser.evaluation.calibration import softmax_at
from ser.runtime.workers import in_order
from ser.serving import bundle as bundles
from ser.serving.bundle import MODEL, POOLED, STATES
from ser.serving.encoder import Encoder, together
from ser.serving.heard import Heard
from ser.serving.model_graph import Standard, standard
from ser.serving.networks import Networks
from ser.serving.prediction import Prediction
from ser.serving.speakers.adaptation import Adaptation
from ser.serving.speakers.profile import Profile
from ser.serving.unlike import measure, unlike
from ser.signal.audio import AudioError
from ser.signal.clips import to_float
from ser.signal.damage import damage
from ser.signal.preprocessing import Prepared, applied
from ser.signal.stream import MINUTES, parts
from ser.views.features import extract
from ser.views.normalise import Statistics, scales, statistics

Found = TypeVar("Found")
Recording = TypeVar("Recording")


class Predictor:
    """A bundle, ready for use; several threads may use it at once.

    Attributes:
        bundle: its facts.
        least: probability below which the most probable class is not an answer (``Prediction.emotion``), 0–1.
        minutes: longest recording that is read.
    """

    def __init__(self, folder: str | Path, least: float = 0.0, minutes: float = MINUTES) -> None:
        """Open a bundle, and hold its graphs against its facts.

        Args:
            folder: the bundle.
            least, minutes: as the attributes.

        Raises:
            BundleError: if it is missing, damaged, or not what its facts say.
        """
        self.least, self.minutes, self._folder = least, minutes, Path(folder)
        self._adaptation: Adaptation | None = None
        self.bundle = bundles.read(folder)
        encoder = self.bundle.encoder
        self._encoder = Encoder.opened(folder, bundles.graph(folder, bundles.ENCODER, encoder.sha256), encoder) if encoder else None
        self._networks = Networks(folder, self.bundle)

    def hearing_by(self, encoder: Encoder) -> Predictor:
        """The same with another encoder, to compare the two."""
        other = copy.copy(self)
        other._encoder = encoder
        return other

    def knowing(self, profile: Profile) -> Predictor:
        """The same, for recordings of one enrolled speaker.

        Raises:
            SerError: if the profile was made with another model.
        """
        profile.check(self.bundle)
        other = copy.copy(self)
        other._adaptation = profile.adaptation
        return other

    def standard(self) -> Standard:
        """What the model knows of the clips that it was trained on; it is read anew at each call."""
        return standard(bundles.graph(self._folder, MODEL, self.bundle.model_sha256), self.bundle, self.average)

    def recordings(self, recordings: Iterable[tuple[str, Callable[[], IO[bytes]]]], jobs: int = 1) -> Iterator[Prediction]:
        """Predictions in the order of the recordings. With ``normalise: speaker`` all of them are taken as recordings of one speaker.

        Args:
            recordings: the name of each, and what opens it. An ``OSError`` or ``AudioError`` is its problem, and not the others'.
            jobs: recordings that are judged at once, each on a thread of its own.
        """
        if self.bundle.features.normalise != "speaker":
            yield from _each(lambda one: self._caught(one[0], lambda: self.recording(*one)), recordings, jobs)
            return
        loaded = list(_each(lambda one: (one[0], self._caught(one[0], lambda: self._all(one[1]))), recordings, jobs))
        own = self.speaker([heard for _, found in loaded if not isinstance(found, Prediction) for heard in found])
        for name, found in loaded:
            yield found if isinstance(found, Prediction) else self.judged(name, found, own)

    def recording(self, name: str, opening: Callable[[], IO[bytes]]) -> Prediction:
        """The prediction of one recording of any length, which is one speaker's.

        Raises:
            AudioError: if it cannot be judged.
            OSError: if it cannot be read.
        """
        if self.bundle.features.normalise == "speaker":
            heard = self._all(opening)
            return self.judged(name, heard, self.speaker(heard))
        with opening() as stream:
            return self.judged(name, self.heard(stream), None)

    def heard(self, stream: IO[bytes]) -> Iterator[Heard]:
        """A recording → what the model reads of each of its parts, minutes long, that can be judged.

        Raises:
            AudioError: if none can, or it cannot be decoded.
        """
        problem: AudioError | None = None
        last: Heard | None = None
        seconds = 0.0
        for part in parts(stream, self.bundle.preprocess, self.minutes):
            seconds += part.seconds
            if part.problem is None:
                if last is not None:
                    yield last
                last = self.listen(applied(part.pcm, part.speech, self.bundle.preprocess))
            problem = problem or part.problem
        found = damage(stream, seconds)  # known at the end only
        if last is not None:
            yield replace(last, damage=str(found or ""))
        elif problem is not None:
            raise problem

    def judged(self, name: str, heard_parts: Iterable[Heard], speaker: dict[str, Statistics] | None) -> Prediction:
        """The prediction of a recording from its parts, at least one: their mean, each weighted by the seconds of speech that were kept.

        Args:
            name: of the recording.
            heard_parts: what the model reads of it.
            speaker: as of ``judge``.
        """
        each = [self.judge(name, heard, speaker) for heard in heard_parts]
        if len(each) == 1:
            return each[0]
        with_speech = [one for one in each if not one.no_speech]
        counted = with_speech or each
        weights = np.array([one.speech_seconds for one in counted])
        mean = np.average([list(one.probabilities.values()) for one in counted], axis=0, weights=weights)
        return Prediction(
            path=name,
            probabilities=dict(zip(self.bundle.classes, mean.tolist(), strict=True)),
            seconds=sum(one.seconds for one in each),
            speech_seconds=sum(one.speech_seconds for one in counted),
            no_speech=not with_speech,
            warnings=tuple(dict.fromkeys(said for one in counted for said in one.warnings)),
            damage=each[-1].damage,
            least=self.least,
        )

    def listen(self, prepared: Prepared) -> Heard:
        """A clip → what the model reads of it."""
        signal, rate = to_float(prepared.pcm), self.bundle.preprocess.sample_rate
        views = extract(signal, rate, self.bundle.features) if set(self.bundle.reads) & set(self.bundle.features.views) else {}
        states = self._encoder.hear(signal, rate) if self._encoder else None
        pooled = states.pooled() if states and POOLED in self.bundle.reads else None
        differs = unlike(measure(signal, rate), self.bundle.typical) if self.bundle.typical else ()
        return Heard(prepared, {name: values for name, values in views.items() if name in self.bundle.reads}, states, pooled, differs)

    def speaker(self, clips: list[Heard]) -> dict[str, Statistics]:
        """Statistics over one speaker's clips of all that ``normalise: speaker`` standardises; none of no clip."""
        if not clips:
            return {}
        own = {view: statistics(np.concatenate([clip.views[view] for clip in clips])) for view in clips[0].views}
        if POOLED in self.bundle.reads:
            vectors = np.stack([clip.pooled for clip in clips if clip.pooled is not None]).astype(np.float64)
            own[POOLED] = Statistics(vectors.mean(axis=0), scales(vectors))
        if STATES in self.bundle.reads:
            own[STATES] = together([clip.states for clip in clips if clip.states is not None])
        return own

    def networks(self, heard: Heard, speaker: dict[str, Statistics] | None = None) -> np.ndarray:
        """Each network's own probabilities of one clip, before calibration: float64 (networks, classes).

        Args:
            heard: the clip.
            speaker: statistics over the speaker's clips, needed with ``normalise: speaker`` only.
        """
        if self.bundle.features.normalise == "speaker" and speaker is None:
            raise ValueError("speaker: normalise is 'speaker', so the statistics of the speaker's clips are needed")
        return self._networks.probabilities(heard, speaker)

    def attention(self, heard: Heard, speaker: dict[str, Statistics] | None = None) -> dict[str, np.ndarray]:
        """Where in time the networks' fusion looked: for each side of it weights over the frames of the clip, float64 (frames,) with sum 1.

        Empty for a fusion without attention over time, a regression, and a bundle that was exported without it.

        Args:
            heard, speaker: as of ``networks``.
        """
        return self._networks.attention(heard, speaker)

    def alone(self, stream: IO[bytes]) -> dict[str, Statistics] | None:
        """Statistics of a recording that is all there is of its speaker, None where they are not needed; the stream is rewound.

        Raises:
            AudioError: if the recording cannot be judged.
        """
        if self.bundle.features.normalise != "speaker":
            return None
        found = self.speaker(list(self.heard(stream)))
        stream.seek(0)
        return found

    def average(self, networks: np.ndarray) -> np.ndarray:
        """Mean over the networks, each calibrated by its temperature if it has one: (networks, classes) → (classes,)."""
        members = zip(networks, self.bundle.networks, strict=True)
        return np.mean([softmax_at(p[None], member.temperature)[0] if member.temperature else p for p, member in members], axis=0)

    def answer(self, heard: Heard, speaker: dict[str, Statistics] | None = None) -> np.ndarray:
        """Probabilities of one clip, float64 (classes,): the networks' average, for an enrolled speaker as the profile changes it.

        Args:
            heard, speaker: as of ``networks``.
        """
        p = self.average(self.networks(heard, speaker))
        return p if self._adaptation is None else self._adaptation.applied(p[None], None if heard.pooled is None else heard.pooled[None])[0]

    def _all(self, opening: Callable[[], IO[bytes]]) -> list[Heard]:
        with opening() as stream:
            return list(self.heard(stream))

    def _caught(self, name: str, judging: Callable[[], Found]) -> Found | Prediction:
        try:
            return judging()
        except SerError as error:  # also a model that fails on this one recording
            return Prediction(name, {}, problem=str(error))
        except OSError as error:
            return Prediction(name, {}, problem=error.strerror or str(error))

    def judge(self, name: str, heard: Heard, speaker: dict[str, Statistics] | None) -> Prediction:
        """The prediction of one recording.

        Args:
            name: of the recording.
            heard: what the model reads of it.
            speaker: statistics over the speaker's clips (``speaker``), needed with ``normalise: speaker`` only.
        """
        p = self.answer(heard, speaker)
        named = {name: float(value) for name, value in zip(self.bundle.classes, p, strict=True)}
        prepared = heard.prepared
        left = prepared.source_seconds * (1 - prepared.removed)
        facts = prepared.source_seconds, left, prepared.no_speech
        return Prediction(name, named, *facts, warnings=heard.unlike, least=self.least, damage=heard.damage)


def _each(work: Callable[[Recording], Found], recordings: Iterable[Recording], jobs: int) -> Iterator[Found]:
    """``work`` on each, in order. Threads are enough: decoding, resampling and graphs release Python's lock."""
    if jobs == 1:
        yield from map(work, recordings)
        return
    with ThreadPoolExecutor(jobs) as pool:
        yield from in_order(pool, work, recordings, jobs + 1)
