"""Emotion over time: a window glides over the speech of a recording, and each position is judged like a recording of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from ser.serving.predict import Predictor
from ser.serving.prediction import most_probable
from ser.signal.preprocessing import applied
from ser.signal.stream import Part, parts
from ser.views.normalise import Statistics

WINDOW: float = 3.0
"""Seconds of a window. RAVDESS' clips are about as long."""
HOP: float = 0.5
"""Seconds from one window to the next."""
SMOOTH: float = 1.5
"""Seconds over which probabilities are averaged."""
PEAK = 0.1
"""Seconds for each of which the waveform's peak is kept."""


@dataclass(frozen=True)
class Moment:
    """One step of a timeline.

    Attributes:
        start, end: in seconds.
        probabilities: of each class, summing to 1; empty where there is no speech.
        emotion: the most probable class, ``uncertain``, or empty where there is no speech.
    """

    start: float
    end: float
    probabilities: dict[str, float]
    emotion: str


@dataclass(frozen=True)
class Stretch:
    """Moments in a row with one emotion.

    Attributes:
        start, end: in seconds.
        emotion: their most probable class, or ``uncertain``.
        probability: mean probability of the class; of the most probable one where they are uncertain.
    """

    start: float
    end: float
    emotion: str
    probability: float


@dataclass(frozen=True)
class Timeline:
    """Emotion over time in one recording.

    Attributes:
        path: the recording, as it was named; empty for samples.
        seconds: its length.
        window, hop, smooth: as they were asked for, in seconds.
        classes: the emotions, in the model's order.
        moments: one for each hop, from the beginning to the end, those without speech among them.
        speech: start and end of each stretch of speech, in seconds.
        peaks: greatest magnitude in each ``PEAK`` seconds, 0–1, for a picture.
    """

    path: str
    seconds: float
    window: float
    hop: float
    smooth: float
    classes: tuple[str, ...]
    moments: tuple[Moment, ...]
    speech: tuple[tuple[float, float], ...]
    peaks: tuple[float, ...]

    def stretches(self) -> tuple[Stretch, ...]:
        """Moments in a row with one emotion, joined; what has no speech is left out."""
        groups = (list(group) for _, group in itertools.groupby(self.moments, key=lambda moment: moment.emotion))
        return tuple(
            Stretch(run[0].start, run[-1].end, run[0].emotion, float(np.mean([max(one.probabilities.values()) for one in run])))
            for run in groups
            if run[0].emotion
        )


def timeline(
    predictor: Predictor, name: str, stream: IO[bytes], window: float = WINDOW, hop: float = HOP, smooth: float = SMOOTH
) -> Timeline:
    """Judge a recording of any length over time, in bounded memory.

    A step is judged where at least half of it is speech. Its window reaches ``window / 2`` to both sides of its middle, but not over the
    ends of the recording or of a part of it (``ser.signal.stream``), and voice activity detection cuts it like any recording. A model with
    ``normalise: speaker`` takes the recording as one speaker's.

    Args:
        predictor: the model.
        name: of the recording.
        stream: its bytes, from the beginning; it can seek.
        window: seconds that are judged at once, at least the ``min_seconds`` of the model.
        hop: seconds from one step to the next, 0.05 to ``window``.
        smooth: seconds over which the probabilities of neighbouring steps are averaged; 0: not at all.

    Raises:
        AudioError: if the recording cannot be judged.
        ValueError: for a window, hop or smoothing out of range.
    """
    settings = predictor.bundle.preprocess
    if not 0.05 <= hop <= window <= 300:
        raise ValueError(f"hop {hop:g} and window {window:g}: 0.05 ≤ hop ≤ window ≤ 300 s is needed")
    if window < settings.min_seconds or not 0 <= smooth <= 60:
        raise ValueError(f"window {window:g} s must be at least {settings.min_seconds:g} s, and smooth {smooth:g} from 0 to 60 s")
    speaker = predictor.alone(stream)
    found: list[tuple[float, float, np.ndarray | None]] = []
    speech: list[tuple[float, float]] = []
    peaks: list[float] = []
    seconds, problems, judged = 0.0, [], False
    for part in parts(stream, settings, predictor.minutes):
        found += _steps(predictor, part, window, hop, speaker)
        rate = settings.sample_rate
        speech += [(part.start + start / rate, part.start + end / rate) for start, end in part.speech.tolist()]
        peaks += _peaks(part, rate)
        seconds = part.start + part.seconds
        problems += [part.problem] if part.problem else []
        judged = judged or part.problem is None
    if not judged:
        raise problems[0]
    classes = tuple(predictor.bundle.classes)
    smoothed = _smoothed([p for _, _, p in found], max(1, round(smooth / hop)))
    moments = tuple(_moment(start, end, classes, p, predictor.least) for (start, end, _), p in zip(found, smoothed, strict=True))
    return Timeline(name, seconds, window, hop, smooth, classes, moments, tuple(_joined(speech)), tuple(peaks))


def _steps(
    predictor: Predictor, part: Part, window: float, hop: float, speaker: dict[str, Statistics] | None
) -> Iterator[tuple[float, float, np.ndarray | None]]:
    """Start, end and probabilities of each step of a part; None without speech."""
    rate, length = predictor.bundle.preprocess.sample_rate, len(part.pcm)
    count = max(1, round(part.seconds / hop))
    for number in range(count):
        start, end = number * hop, part.seconds if number == count - 1 else (number + 1) * hop
        first, last = round(start * rate), min(round(end * rate), length)
        if 2 * overlap(part.speech, first, last) < max(1, last - first):
            yield part.start + start, part.start + end, None
            continue
        middle = (start + end) / 2
        low, high = max(0, round((middle - window / 2) * rate)), min(length, round((middle + window / 2) * rate))
        inside = np.clip(part.speech, low, high) - low
        inside = inside[inside[:, 1] > inside[:, 0]]
        heard = predictor.listen(applied(part.pcm[low:high], inside, predictor.bundle.preprocess))
        yield part.start + start, part.start + end, predictor.answer(heard, speaker)


def overlap(speech: np.ndarray, first: int, last: int) -> int:
    """Values of a signal from ``first`` to before ``last`` that are speech; ``speech`` (k, 2) as ``vad.segments`` gives it."""
    return int(np.maximum(0, np.minimum(speech[:, 1], last) - np.maximum(speech[:, 0], first)).sum())


def _smoothed(steps: Sequence[np.ndarray | None], width: int) -> Iterator[np.ndarray | None]:
    """Mean of each step and its neighbours within the same run of speech, ``width`` steps in all; an even width counts as the next odd."""
    reach = width // 2
    for place, one in enumerate(steps):
        if one is None:
            yield None
            continue
        near = [one]
        for side in (range(place - 1, place - reach - 1, -1), range(place + 1, place + reach + 1)):
            for other in side:
                values = steps[other] if 0 <= other < len(steps) else None
                if values is None:
                    break
                near.append(values)
        yield np.mean(near, axis=0)


def _moment(start: float, end: float, classes: Iterable[str], p: np.ndarray | None, least: float) -> Moment:
    named = {} if p is None else dict(zip(classes, p.tolist(), strict=True))
    return Moment(start, end, named, most_probable(named, least))


def _peaks(part: Part, rate: int) -> list[float]:
    size, count = round(PEAK * rate), max(1, round(part.seconds / PEAK))
    loud = np.abs(part.pcm.astype(np.float32)) / 32768
    return [float(loud[place * size : (place + 1) * size].max(initial=0.0)) for place in range(count)]


def _joined(stretches: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Stretches that touch where one part ends and the next begins are one."""
    last: tuple[float, float] | None = None
    for start, end in stretches:
        if last is not None and start - last[1] < 1e-3:
            last = (last[0], end)
            continue
        if last is not None:
            yield last
        last = (start, end)
    if last is not None:
        yield last
