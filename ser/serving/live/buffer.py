"""The last seconds of a stream of samples, and which window of them is judged next. It knows no thread and no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

AHEAD = 10.0
"""A source that runs this many seconds ahead of the clock is not live. Pipes and sound servers hold a second or two."""


@dataclass(frozen=True)
class Window:
    """What is judged at once.

    Attributes:
        end: seconds from the beginning of the stream to the window's end.
        samples: int16 (n, channels).
        arrived: when its last sample came, by the clock of ``Buffer.add``.
        skipped: windows before it that were left out.
    """

    end: float
    samples: np.ndarray
    arrived: float
    skipped: int


class Buffer:
    """A ring of samples, as long as a window and ``AHEAD`` seconds; its memory does not grow.

    A live source brings a second of sound in a second. If answers take longer, windows are skipped, so that the answer is never far behind
    the voice. A source that is faster, such as a file, is judged whole: whoever fills the buffer waits while it is ``full``.

    Attributes:
        live: the source has not been ``AHEAD`` seconds ahead of the clock.
        ended: nothing more will come, so nothing is skipped any more.
    """

    def __init__(self, rate: int, channels: int, window: float, every: float) -> None:
        """An empty buffer.

        Args:
            rate: samples per second.
            channels: of the stream.
            window: seconds that are judged at once, at most.
            every: seconds from the end of one window to the end of the next; not more than ``window``.
        """
        self._rate, self._every, self._window = rate, every, round(window * rate)
        self._ring = np.zeros((self._window + round((AHEAD + 1) * rate), channels), dtype=np.int16)
        self._received, self._judged = 0, 0
        self._begun: float | None = None
        self._arrivals: deque[tuple[int, float]] = deque()
        self.live, self.ended = True, False

    @property
    def seconds(self) -> float:
        """Of sound that came so far."""
        return self._received / self._rate

    def full(self, coming: int) -> bool:
        """Whether that many samples more would overwrite some of the next window, in a source that is not live."""
        oldest = max(0, self._end(self._judged + 1) - self._window)
        return not self.live and self._received + coming - oldest > len(self._ring)

    def add(self, samples: np.ndarray, now: float) -> None:
        """Take samples, int16 (n, channels), that came at the time ``now``, in seconds."""
        if not len(samples):
            return
        if self._begun is None:
            self._begun = now - len(samples) / self._rate
        kept = samples[-len(self._ring) :]
        places = (self._received + len(samples) - len(kept) + np.arange(len(kept))) % len(self._ring)
        self._ring[places] = kept
        self._received += len(samples)
        self._arrivals.append((self._received, now))
        while self._arrivals[0][0] <= self._received - len(self._ring):
            self._arrivals.popleft()
        if self.seconds - (now - self._begun) > AHEAD:
            self.live = False

    def next(self, now: float) -> Window | None:
        """The window to judge at the time ``now``; None where its end has not come yet.

        The first windows are shorter, because nothing was before them. Of a stream that ended before its first window did, it is the rest.
        """
        number, newest = self._judged + 1, self._newest()
        if newest < number:
            if not (self.ended and self._judged == 0 and self._received):
                return None
            self._judged = 1
            return self._cut(self._received, 0)
        if self.live and not self.ended and newest > number and now - self._arrived(self._end(number)) > self._every:
            number = newest
        while self._end(number) - min(self._window, self._end(number)) < self._received - len(self._ring):
            number += 1  # overwritten, before it was known that the source is not live
        skipped, self._judged = number - self._judged - 1, number
        return self._cut(self._end(number), skipped)

    def _cut(self, end: int, skipped: int) -> Window:
        places = np.arange(max(0, end - self._window), end) % len(self._ring)
        return Window(end / self._rate, self._ring[places], self._arrived(end), skipped)

    def _end(self, number: int) -> int:
        return round(number * self._every * self._rate)

    def _newest(self) -> int:
        number = int(self._received / (self._every * self._rate)) + 1  # rounding may hide one
        while number > 0 and self._end(number) > self._received:
            number -= 1
        return number

    def _arrived(self, end: int) -> float:
        return next(when for last, when in self._arrivals if last >= end)
