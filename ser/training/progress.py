"""How far a training is: one bar for all its networks, and a log file with a line per epoch.

Each network appends its lines to the log, from whatever process trains it. The process that started them
reads the log and draws the bar: the finished epochs of all networks, and the time until the last one ends.
"""

from __future__ import annotations

import heapq
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

LINE = re.compile(r"fold (?P<fold>\d+) seed (?P<seed>\d+)(?P<kind>: begins|: resumes after epoch| epoch)? *(?P<epoch>\d*)")
"""The begin of a line of the log. A line of another kind says something else about the network."""
UA = re.compile(r"valid UA (\d\.\d+)")
SHAPE = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit}s [{elapsed}{postfix}]"
ON_A_TERMINAL, IN_A_FILE = 0.5, 30.0
"""Seconds between two drawings of the bar."""


def tell(log: Path, line: str) -> None:
    """Append a line to the log; lines of processes that write at the same time do not mix."""
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")  # one write, at the end that the file has then


@dataclass
class Network:
    """What the log has told of one network.

    Attributes:
        begun: when its training began, in seconds of the clock; None before.
        told: when its last epoch ended.
        epochs: finished ones, with those of an earlier run that it resumes.
        here: finished ones of this run.
        ua: the last validation UA, 0–1; None before the first.
        ended: whether its training is over.
    """

    begun: float | None = None
    told: float = 0.0
    epochs: int = 0
    here: int = 0
    ua: float | None = None
    ended: bool = False


class Progress:
    """The bar on stderr, as a context.

    Attributes:
        log: the log.
    """

    def __init__(
        self,
        log: Path,
        networks: Iterable[tuple[int, int]],
        epochs: int,
        at_once: int,
        title: str,
        early: bool = False,
        shown: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Empty the log and begin the bar.

        Args:
            log: the file; the folders above it are made.
            networks: fold and seed of each network, in the order of their start.
            epochs: of each network, as planned; 1 where the model is fitted without epochs.
            at_once: networks that train at the same time.
            title: stands before the bar.
            early: whether a network may end before its last epoch.
            shown: whether the bar is drawn.
            clock: seconds, from any moment on.
        """
        self.log = log
        self._networks = {network: Network() for network in networks}
        self._epochs, self._at_once, self._early, self._clock = epochs, at_once, early, clock
        self._read = 0
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        self._bar = tqdm(
            desc=title,
            total=epochs * len(self._networks),
            unit="epoch" if epochs > 1 else "fit",
            bar_format=SHAPE,
            disable=not shown,
            miniters=0,
            mininterval=ON_A_TERMINAL if sys.stderr.isatty() else IN_A_FILE,
        )

    def __enter__(self) -> Progress:
        """The bar."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def say(self, line: str) -> None:
        """Append a line to the log, and draw the bar if it is time."""
        tell(self.log, line)
        self.look()

    def look(self) -> None:
        """Read what the log has got since the last look, and draw the bar if it is time."""
        with open(self.log, "rb") as file:
            file.seek(self._read)
            lines, end, _ = file.read().rpartition(b"\n")  # without a line that is not whole yet
        self._read += len(lines) + len(end)
        for line in lines.decode("utf-8", "replace").splitlines():
            self._note(line)
        self._draw()

    def ended(self, network: tuple[int, int]) -> None:
        """A network is trained: the epochs that it did without are not waited for."""
        self.look()
        known = self._networks[network]
        known.ended, known.epochs = True, max(known.epochs, 1)
        self._draw()

    def left(self) -> float | None:
        """Seconds until the last network ends, if none ends early; None before the first epoch of this run.

        An epoch is taken to last as long as those of this run did on average. Networks that have not begun
        take the place of the next one that ends.
        """
        networks = self._networks.values()
        timed = [(one.told - one.begun, one.here) for one in networks if one.begun is not None and one.here]
        if not timed:
            return None
        each = sum(seconds for seconds, _ in timed) / sum(epochs for _, epochs in timed)
        now = self._clock()
        places = [0.0] * self._at_once  # seconds until each is free
        running = [one for one in networks if one.begun is not None and not one.ended]
        for place, one in enumerate(running[: self._at_once]):
            since = now - (one.told if one.here else one.begun or now)
            places[place] = max(0.0, (self._epochs - one.epochs) * each - since)
        heapq.heapify(places)
        for _ in range(sum(one.begun is None and not one.ended for one in networks)):
            heapq.heappush(places, heapq.heappop(places) + self._epochs * each)
        return max(places)

    def _draw(self) -> None:
        networks = self._networks.values()
        self._bar.total = sum(one.epochs if one.ended else self._epochs for one in networks)
        self._bar.set_postfix_str(self._said(), refresh=False)
        self._bar.update(sum(one.epochs for one in networks) - self._bar.n)

    def _said(self) -> str:
        """Mean validation UA of the networks so far, and the time left."""
        ua = [one.ua for one in self._networks.values() if one.ua is not None]
        said = [f"valid UA {sum(ua) / len(ua):.3f}"] if ua else []
        left = self.left()
        if left is not None and not all(one.ended for one in self._networks.values()):
            said.append(f"{'at most ' if self._early else ''}{tqdm.format_interval(left)} left")
        return ", ".join(said)

    def _note(self, line: str) -> None:
        """Take up a line of the log."""
        match = LINE.match(line)
        known = self._networks.get((int(match["fold"]), int(match["seed"]))) if match else None
        if match is None or known is None:
            return
        if match["kind"] == ": begins":
            known.begun = self._clock()
        elif match["epoch"]:
            finished = int(match["epoch"])
            if match["kind"] == " epoch":
                known.told, known.here = self._clock(), known.here + finished - known.epochs
            known.epochs = finished
        if ua := UA.search(line):
            known.ua = float(ua[1])
