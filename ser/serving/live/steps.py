"""A stream judged while it runs: one step a second, each the model's answer for the last seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ser.serving.live.buffer import Buffer, Window
from ser.serving.predict import Predictor
from ser.serving.prediction import most_probable
from ser.serving.samples import as_file
from ser.serving.timeline.moments import WINDOW, overlap
from ser.signal.preprocessing import applied
from ser.signal.stream import parts

EVERY = 1.0
"""Seconds from one step to the next."""
HOLD, MARGIN = 2, 0.3
"""Steps in a row that another emotion must be ahead before it is shown, and the lead in probability that needs no waiting."""
BLOCK = 0.1
"""Seconds of sound that are taken from the source at once."""


@dataclass(frozen=True)
class Settings:
    """How a stream is judged.

    Attributes:
        rate: samples per second.
        channels: of the stream; they are averaged.
        window: seconds that are judged at once.
        every: seconds from one step to the next, at most ``window``.
        hold, margin: as ``HOLD`` and ``MARGIN``.
    """

    rate: int
    channels: int = 1
    window: float = WINDOW
    every: float = EVERY
    hold: int = HOLD
    margin: float = MARGIN


@dataclass(frozen=True)
class Step:
    """What is said of one moment.

    Attributes:
        end: seconds from the beginning of the stream.
        emotion: the one shown, which follows with hysteresis; ``uncertain``; or empty where there is no speech.
        leading: the most probable class of this window, ``uncertain``, or empty.
        probabilities: of each class, as ``predict`` gives them for the same window; empty where there is no speech.
        problem: why the window cannot be judged although there is sound; empty otherwise.
        latency: seconds from the arrival of the window's last sample to this answer; None where the source is not live.
        judging: seconds that the answer took to compute.
        skipped: windows before this one that were left out, because answers were slower than the voice.
    """

    end: float
    emotion: str
    leading: str
    probabilities: dict[str, float]
    problem: str
    latency: float | None
    judging: float
    skipped: int


class Hysteresis:
    """Keeps the shown emotion until another has been ahead for ``hold`` steps in a row, or leads it by ``margin``."""

    def __init__(self, hold: int = HOLD, margin: float = MARGIN) -> None:
        self._hold, self._margin = hold, margin
        self._shown, self._rival, self._steps = "", "", 0

    def silence(self) -> None:
        """After a pause nothing is kept."""
        self._shown = self._rival = ""

    def shown(self, leading: str, probabilities: dict[str, float]) -> str:
        """The emotion to show at the next step.

        Args:
            leading: the most probable class, or ``uncertain``.
            probabilities: of each class.
        """
        clear = {leading, self._shown} <= probabilities.keys() and probabilities[leading] - probabilities[self._shown] >= self._margin
        self._steps = self._steps + 1 if leading == self._rival else 1
        self._rival = leading
        if not self._shown or self._steps >= self._hold or clear:
            self._shown = leading
        return self._shown


def judged(predictor: Predictor, window: Window, settings: Settings) -> tuple[np.ndarray | None, str]:
    """The model's probabilities for a window, (classes,), and why there are none.

    They are those of ``Predictor.recording`` for the same samples. As in a timeline, there are none where less than half of the last step
    is speech.
    """
    (part,) = parts(as_file(window.samples, settings.rate), predictor.bundle.preprocess)
    if part.problem is not None:
        return None, str(part.problem) if part.problem.reason == "clipped" else ""
    first = max(0, len(part.pcm) - round(settings.every * predictor.bundle.preprocess.sample_rate))
    if 2 * overlap(part.speech, first, len(part.pcm)) < len(part.pcm) - first:
        return None, ""
    return predictor.answer(predictor.listen(applied(part.pcm, part.speech, predictor.bundle.preprocess))), ""


def steps(
    predictor: Predictor, source: Iterable[np.ndarray], settings: Settings, clock: Callable[[], float] = time.monotonic
) -> Iterator[Step]:
    """Judge a stream as long as it lasts, in bounded memory.

    A thread reads the source. It ends with the source, or at the next block after this iterator was closed.

    Args:
        predictor: the model.
        source: blocks of samples, int16 (n, channels), in the order in which they come.
        settings: how it is judged.
        clock: seconds that never run back.

    Raises:
        ValueError: for a window or step out of range.
        Exception: what the source raises, when its answers have been given.
    """
    least = max(0.05, predictor.bundle.preprocess.min_seconds)
    if not least <= settings.every <= settings.window <= 60:
        raise ValueError(f"every {settings.every:g} and window {settings.window:g}: {least:g} ≤ every ≤ window ≤ 60 s is needed")
    return _steps(predictor, source, settings, clock)


def _steps(predictor: Predictor, source: Iterable[np.ndarray], settings: Settings, clock: Callable[[], float]) -> Iterator[Step]:
    buffer = Buffer(settings.rate, settings.channels, settings.window, settings.every)
    reader = _Reader(source, buffer, max(1, round(BLOCK * settings.rate)), clock)
    reader.start()
    kept = Hysteresis(settings.hold, settings.margin)
    try:
        while (window := reader.next()) is not None:
            begun = clock()
            p, problem = judged(predictor, window, settings)
            named = {} if p is None else dict(zip(predictor.bundle.classes, p.tolist(), strict=True))
            leading = most_probable(named, predictor.least)
            if named:
                emotion = kept.shown(leading, named)
            else:
                emotion = ""
                kept.silence()
            now = clock()
            latency = now - window.arrived if buffer.live else None
            yield Step(window.end, emotion, leading, named, problem, latency, now - begun, window.skipped)
    finally:
        reader.stop()


class _Reader(threading.Thread):
    """Takes blocks from a source into a buffer."""

    def __init__(self, source: Iterable[np.ndarray], buffer: Buffer, block: int, clock: Callable[[], float]) -> None:
        super().__init__(daemon=True)  # it may wait for sound when the program ends
        self._source, self._buffer, self._block, self._clock = source, buffer, block, clock
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._stopped = False

    def run(self) -> None:
        """Read until the source ends, fails, or nobody listens any more."""
        try:
            for samples in self._source:
                for first in range(0, len(samples), self._block):
                    self._add(samples[first : first + self._block])
                if self._stopped:
                    return
        except BaseException as error:  # it is the listener's to see
            self._error = error
        finally:
            with self._changed:
                self._buffer.ended = True
                self._changed.notify()

    def next(self) -> Window | None:
        """The next window, as soon as it is there; None after the last."""
        with self._changed:
            while (window := self._buffer.next(self._clock())) is None:
                if self._buffer.ended:
                    if self._error is not None:
                        raise self._error
                    return None
                self._changed.wait()
            self._changed.notify()
            return window

    def stop(self) -> None:
        """Let the thread end."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _add(self, samples: np.ndarray) -> None:
        with self._changed:
            while self._buffer.full(len(samples)) and not self._stopped:
                self._changed.wait()
            self._buffer.add(samples, self._clock())
            self._changed.notify()
