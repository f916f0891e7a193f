"""What an attack is, what came out of it, and how its trials run side by side."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import struct
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Share = Literal["ci", "whole"]
Kind = Literal["loss", "hang", "traceback", "orphan", "leftover", "words"]
"""loss: bytes are wrong, gone or unaccounted for, and nothing says so. words: it ends, but no message says what and where."""

KINDS: tuple[Kind, ...] = ("loss", "hang", "traceback", "orphan", "leftover", "words")
SHOWN = 400
"""Characters of what a child said that a finding shows."""


@dataclass(frozen=True)
class Finding:
    """Something that must not happen.

    Attributes:
        kind: see ``Kind``.
        what: in words, with the end of what was said.
    """

    kind: Kind
    what: str


@dataclass(frozen=True)
class Trial:
    """One thing that is tried.

    Attributes:
        label: names it, and with the seed makes it again; unique in its attack.
        run: tries it in an empty folder, and returns what must not have happened, and what did, counted by name.
        count: how many inputs it stands for.
    """

    label: str
    run: Callable[[Path], tuple[list[Finding], Counter[str]]]
    count: int = 1


@dataclass
class Result:
    """What came out of an attack.

    Attributes:
        name: of the attack.
        seed: that chose its trials.
        trials: number of inputs that were tried.
        seconds: by the clock.
        outcomes: what happened, by name.
        findings: label of the trial and what must not happen.
    """

    name: str
    seed: int
    trials: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[str, Finding]] = field(default_factory=list)

    def of_kind(self, kind: Kind) -> int:
        """Number of findings of this kind."""
        return sum(finding.kind == kind for _, finding in self.findings)

    def again(self, label: str) -> str:
        """The command that shows a finding again."""
        quoted = label.replace("'", "'\\''")
        return f"python -m tests.torture --only {self.name} --seed {self.seed} --trial '{quoted}'"


def random_of(seed: int, *names: object) -> random.Random:
    """Random numbers that depend on the seed and these names alone."""
    return random.Random(":".join(map(str, (seed, *names))))


def ended_of(said: str) -> str:
    """The end of what was said, on one line."""
    return " ⏎ ".join(said.strip().splitlines())[-SHOWN:]


def in_lanes(trials: Sequence[Trial], lanes: int, place: Path) -> Iterator[tuple[Trial, list[Finding], Counter[str]]]:
    """The outcomes of all trials as they come, from so many processes side by side.

    Args:
        trials: to run.
        lanes: number of processes.
        place: folder below which each trial gets an empty one.
    """
    order_out, order_in = os.pipe()
    found_out, found_in = os.pipe()
    processes = []
    for _ in range(min(lanes, len(trials))):
        if (pid := os.fork()) == 0:
            _lane(trials, order_out, found_in, (order_in, found_out), place)
        processes.append(pid)
    os.close(order_out)
    os.close(found_in)
    try:
        sender = os.fork()  # more numbers than a pipe holds would block
        if sender == 0:
            with open(order_in, "wb") as orders:
                orders.write(b"".join(struct.pack("<I", number) for number in range(len(trials))))
            os._exit(0)
        os.close(order_in)
        processes.append(sender)
        with open(found_out, encoding="utf-8") as lines:
            for line in lines:
                told = json.loads(line)
                yield trials[told["number"]], [Finding(**one) for one in told["findings"]], Counter(told["outcomes"])
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGKILL)  # where the torture is stopped; otherwise they have ended
            os.waitpid(pid, 0)


def _lane(trials: Sequence[Trial], orders: int, found: int, others: tuple[int, int], place: Path) -> None:
    """Run the trials whose numbers come, one after the other (a process's main function)."""
    try:
        for other in others:
            os.close(other)
        while len(number := os.read(orders, 4)) == 4:
            index = struct.unpack("<I", number)[0]
            findings, outcomes = _tried(trials[index], place)
            line = json.dumps({"number": index, "findings": [asdict(one) for one in findings], "outcomes": outcomes}) + "\n"
            with (place / "turn").open("w") as turn:  # long lines of two lanes would mix in the pipe
                fcntl.lockf(turn, fcntl.LOCK_EX)
                with open(found, "wb", closefd=False) as lines:
                    lines.write(line.encode())
    finally:
        os._exit(0)


def _tried(trial: Trial, place: Path) -> tuple[list[Finding], Counter[str]]:
    """Run a trial in a folder of its own; an error of the torture itself is a finding too, so that none is passed over."""
    folder = Path(tempfile.mkdtemp(dir=place))
    try:
        findings, outcomes = trial.run(folder)
    except Exception:
        findings, outcomes = [Finding("traceback", f"in the torture itself: {ended_of(traceback.format_exc())}")], Counter()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return findings, outcomes
