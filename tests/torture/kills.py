"""Runs that are killed: at each rename, at random moments, with worker processes, and under ``dvc repro``.

Afterwards nothing half-written has the name of an output, nothing lives on, and a rerun ends with the bytes of an undisturbed
run and without leftovers. After SIGTERM and Ctrl-C even the killed run leaves nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.torture import child, project
from tests.torture.attack import Finding, Share, Trial, ended_of, random_of
from tests.torture.child import Child, Ended
from tests.torture.ground import SECONDS, STAGES, Ground, Place, differing

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
POLITE = {signal.SIGTERM: (143, -signal.SIGTERM), signal.SIGINT: (130, -signal.SIGINT)}
"""Exit status after a signal that a program can hear; before Python's handlers are there, the signal itself."""
SPREAD = ("preprocess", "features", "train", "evaluate")
"""Stages that use worker processes."""
CI = 10
REPRO = {"ci": 0, "whole": 8}
MOMENTS = {"ci": 1, "whole": 6}
"""Random moments for each stage and share."""
EXPORTS = 2
"""Random moments of an export, which takes half a minute."""

BEGIN = 1.5
"""Seconds that DVC, and each stage under it, takes to import its modules, at least."""
DYING = 20.0
"""Seconds that a process may outlive its stage: it looks for its parent only after it has imported its modules."""
RECORDS = "data/sums/"
"""Checksums that a stage leaves beside its outputs. DVC does not know them, and brings back outputs without them."""

Found = tuple[list[Finding], Counter[str]]


def trials(ground: Ground, seed: int, share: Share) -> list[Trial]:
    """All trials of a share."""
    made = []
    for stage in STAGES:
        for number in range(1, ground.renames[stage] + 1):
            for after in (False, True):
                for kind in SIGNALS:
                    label = f"{stage} {kind.name} {'after' if after else 'at'} rename {number}"
                    made.append(Trial(label, partial(_at_rename, ground, stage, kind, number, after)))
        for number in range(min(MOMENTS[share], EXPORTS) if stage == "export" else MOMENTS[share]):
            random = random_of(seed, "kills", stage, number)
            kind, moment = random.choice(SIGNALS), random.random() * ground.seconds[stage]
            made.append(
                Trial(f"{stage} {kind.name} after {moment:.3f} s", partial(_at_moment, ground, stage, kind, moment, random.random() < 0.5))
            )
    if share == "ci":
        return random_of(seed, "kills").sample(made, CI)
    for stage in SPREAD:
        for kind in SIGNALS:
            for number in range(2):
                moment = random_of(seed, "spread", stage, kind.name, number).uniform(2.0, 8.0)
                made.append(
                    Trial(f"{stage} with workers, {kind.name} after {moment:.3f} s", partial(_with_workers, ground, stage, kind, moment))
                )
    made += [Trial(f"dvc repro {number}", partial(_repro, ground, seed, number)) for number in range(REPRO[share])]
    return made


def _at_rename(ground: Ground, stage: str, kind: signal.Signals, number: int, after: bool, folder: Path) -> Found:
    place = ground.lay(folder, stage)
    running = child.start(lambda: _struck(stage, number, kind, after), place.work, place.environment())
    return _examined(ground, stage, kind, place, running)


def _at_moment(ground: Ground, stage: str, kind: signal.Signals, moment: float, own: bool, folder: Path) -> Found:
    place = ground.lay(folder, stage, own)
    running = child.start(lambda: child.stage(stage), place.work, place.environment())
    time.sleep(moment)
    running.kill(kind)
    return _examined(ground, stage, kind, place, running)


def _with_workers(ground: Ground, stage: str, kind: signal.Signals, moment: float, folder: Path) -> Found:
    """A process with an interpreter of its own, as a user starts it; Ctrl-C reaches the whole group."""
    place = ground.lay(folder, stage)
    environment = {**os.environ, **place.environment(SER_WORKERS="2")}
    running = child.start(lambda: os.execve(child.command_of(stage)[0], [*child.command_of(stage)], environment), place.work, {})
    time.sleep(moment)
    running.kill(kind, group=kind == signal.SIGINT)
    return _examined(ground, stage, kind, place, running)


def _struck(stage: str, number: int, kind: signal.Signals, after: bool) -> None:
    """Run a stage, and send the signal at its rename number ``number``."""
    count = 0

    def striking(plain: Callable[..., None]) -> Callable[..., None]:
        def renamed(*arguments: Any, **options: Any) -> None:
            nonlocal count
            count += 1
            if count == number and not after:
                os.kill(os.getpid(), kind)
            plain(*arguments, **options)
            if count == number and after:
                os.kill(os.getpid(), kind)

        return renamed

    with child.changed(os, "rename", striking(os.rename)), child.changed(os, "replace", striking(os.replace)):
        child.stage(stage)


def _examined(ground: Ground, stage: str, kind: signal.Signals, place: Place, running: Child) -> Found:
    """Wait for the killed run, look at what is there, run the stage again, look again."""
    expected = ground.until(stage)
    ended = running.wait(SECONDS)
    found = [Finding("orphan", f"{command} lives on") for command in child.orphans(running.pid, DYING)]
    outcomes = Counter({"ended before the signal" if ended.code == 0 else f"killed by {kind.name}": 1})
    if ended.hung:
        return [*found, Finding("hang", f"after {kind.name}: {ended_of(ended.said)}")], outcomes
    if ended.code != 0 and kind in POLITE:
        found += _politeness(kind, ended)
        found += [Finding("leftover", f"{left} after {kind.name}") for left in place.left(expected) if not left.startswith("cache/")]
    half = [name for name in differing(place.work, expected) if not name.endswith("(missing)")]
    found += [Finding("loss", f"half-written after {kind.name}: {name}") for name in half]
    again = place.stage(stage)
    return found + _whole_again(again, place, expected), outcomes


def _politeness(kind: signal.Signals, ended: Ended) -> list[Finding]:
    if "Traceback" in ended.said and "stages/command.py" not in ended.said:
        return []  # Python's own, while it still imported the stage
    if ended.traced:
        return [Finding("traceback", f"after {kind.name}: {ended_of(ended.said)}")]
    if ended.code not in POLITE[kind]:
        return [Finding("words", f"status {ended.code} after {kind.name}, not one of {POLITE[kind]}: {ended_of(ended.said)}")]
    return []


def _whole_again(again: Ended, place: Place, expected: dict[str, str]) -> list[Finding]:
    if again.hung:
        return [Finding("hang", f"the rerun: {ended_of(again.said)}")]
    if again.code != 0:
        return [Finding("traceback" if again.traced else "loss", f"the rerun ends with {again.code}: {ended_of(again.said)}")]
    found = [Finding("loss", f"after the rerun: {name}") for name in differing(place.work, expected)]
    return found + [Finding("leftover", f"{name} after the rerun") for name in place.left(expected)]


def _repro(ground: Ground, seed: int, number: int, folder: Path) -> Found:
    """``dvc repro`` from a random stage on, killed at a random moment as a whole or at its head alone; then run again."""
    random = random_of(seed, "repro", number)
    kind, first, share, group = random.choice(SIGNALS), random.choice(STAGES), random.random(), random.random() < 0.5
    moment = BEGIN + share * sum(BEGIN + ground.seconds[stage] for stage in STAGES[STAGES.index(first) :])
    copy = project.copied(ground, folder)
    for stage in STAGES[STAGES.index(first) :]:
        for name in ground.files[stage]:
            (copy.folder / name).unlink()
    running = child.start(lambda: os.execvpe("dvc", ["dvc", "repro", "--no-run-cache"], copy.environment), copy.folder, {})
    time.sleep(moment)
    running.kill(kind, group or kind == signal.SIGINT)
    ended = running.wait(SECONDS)
    outcomes = Counter({"dvc repro ended before the signal" if ended.code == 0 else f"dvc repro killed by {kind.name}": 1})
    found = [Finding("orphan", f"{command} lives on") for command in child.orphans(running.pid, DYING)]
    if ended.hung:
        return [*found, Finding("hang", f"dvc repro after {kind.name}: {ended_of(ended.said)}")], outcomes
    try:
        if copy.run(sys.executable, "-m", "stages.lock").stdout:  # as `make repro` begins
            outcomes["dvc.lock brought back"] += 1
        again = copy.run("dvc", "repro", check=False, timeout=600)
    except subprocess.TimeoutExpired:
        return [*found, Finding("hang", "dvc repro, the rerun")], outcomes
    if again.returncode != 0:
        return [*found, Finding("loss", f"dvc repro, the rerun ends with {again.returncode}: {ended_of(again.stderr)}")], outcomes
    expected = {name: known for name, known in ground.until(STAGES[-1]).items() if not name.startswith(RECORDS)}
    found += [Finding("loss", f"after dvc repro: {name}") for name in differing(copy.folder, expected)]
    left = project.left(copy, expected, ground.caches)
    found += [Finding("leftover", f"{name} after dvc repro") for name in left if not name.startswith(RECORDS)]
    return found, outcomes
