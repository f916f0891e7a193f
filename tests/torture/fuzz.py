"""Bytes and texts from outside, mutated from good ones by a seed: each is read or refused in words, under limits of memory and time.

Each case depends on the seed, the name of its reader and its own number alone.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.torture import child, readers
from tests.torture.attack import Finding, Share, Trial, ended_of, random_of
from tests.torture.ground import Ground, Place

CASES = {
    "archive": 24_000, "names": 34_000, "table": 8_000, "params": 12_000, "params text": 1_500, "bundle": 8_000, "graph": 1_000,
    "http": 12_000, "answer": 1_200, "sound": 3_000, "result": 3_000,
}  # fmt: skip
"""Inputs of each reader in the whole."""
CI = 100
"""The CI share has a part of them: one in so many."""
BATCH = 500
CASE_SECONDS = 10
"""Of one input."""
MEMORY = 2 << 30
"""Bytes that reading one may take."""
SHOWN = 5
"""Findings of one batch."""


def trials(ground: Ground, seed: int, share: Share) -> list[Trial]:
    """A trial for each batch of cases."""
    made = []
    for name, whole in CASES.items():
        count = whole if share == "whole" else max(20, whole // CI)
        for first in range(0, count, BATCH):
            cases = range(first, min(first + BATCH, count))
            made.append(Trial(f"{name} {cases.start}-{cases.stop - 1}", partial(_tried, ground, seed, name, cases), len(cases)))
    return made


def _tried(ground: Ground, seed: int, name: str, cases: range, folder: Path) -> tuple[list[Finding], Counter[str]]:
    """Run a batch in a child; after a case that ends the child, go on with the next one."""
    place = Place(folder)
    found: list[Finding] = []
    outcomes: Counter[str] = Counter()
    report, first = place.folder / "report", cases.start
    while first < cases.stop and len(found) < SHOWN:
        rest = range(first, cases.stop)
        report.write_text("")
        ended = child.run(
            lambda rest=rest: _batch(ground, seed, name, rest, report), place.work, place.environment(), CASE_SECONDS * 60, MEMORY
        )
        told = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
        outcomes.update(Counter({key: value for line in told for key, value in line.get("outcomes", {}).items()}))
        found += [Finding(line["kind"], line["what"]) for line in told if "kind" in line]
        if ended.code == 0:
            break
        last = int((place.work / "case").read_text() or first)
        kind = "hang" if ended.hung or ended.code == -signal.SIGALRM else "traceback"
        found.append(Finding(kind, f"{name} {last} ended its process ({ended.code}): {ended_of(ended.said)}"))
        first = last + 1
    return found, outcomes


def _batch(ground: Ground, seed: int, name: str, cases: range, report: Path) -> None:
    """Read each case; write down what must not happen, then what did."""
    faulthandler.disable()
    reader = readers.opened(name, ground)
    outcomes: Counter[str] = Counter()
    with report.open("a", encoding="utf-8") as lines, open("case", "w+b") as now:
        for number in cases:
            now.seek(0)
            now.write(b"%d" % number)
            now.truncate()
            now.flush()
            chosen = random_of(seed, "fuzz", name, number)
            signal.alarm(CASE_SECONDS)
            began = time.monotonic()
            try:
                outcomes[_said(reader, chosen)] += 1
            except BaseException as error:
                what = f"{name} {number}: {type(error).__name__}: {str(error)[:150]} ({_place_of(error)})"
                lines.write(json.dumps({"kind": "traceback", "what": what}) + "\n")
                lines.flush()
            finally:
                signal.alarm(0)
            if time.monotonic() - began > CASE_SECONDS / 2:
                lines.write(json.dumps({"kind": "hang", "what": f"{name} {number} took {time.monotonic() - began:.1f} s"}) + "\n")
        lines.write(json.dumps({"outcomes": outcomes}) + "\n")


def _said(reader: Callable[[random.Random], None], chosen: random.Random) -> str:
    try:
        reader(chosen)
    except readers.REFUSALS:
        return "refused"
    return "read"


def _place_of(error: BaseException) -> str:
    """File and line of the project where an error was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}ser{os.sep}" in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside the project"
