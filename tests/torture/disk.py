"""A disk that is full after so many bytes, and files that may not grow beyond a size: at every write of every stage.

Either the outputs are whole, or there is one message that says what, where and how much is free. No half file has the name of
an output. A rerun with room ends with the bytes of an undisturbed run.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import resource
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.torture import child
from tests.torture.attack import Finding, Share, Trial, ended_of, random_of
from tests.torture.ground import SECONDS, STAGES, Ground, Place, differing

EACH = {"ci": 2, "whole": 10}
"""Trials of each stage and kind."""
EXPORTS = 3
"""Of an export, which takes half a minute."""
CI = 8


def trials(ground: Ground, seed: int, share: Share) -> list[Trial]:
    """All trials of a share: full after a number of bytes, full before the first one, and limits of a file's size."""
    made = []
    for stage in STAGES:
        sizes = sorted((ground.folder / name).stat().st_size for name in ground.files[stage])
        random = random_of(seed, "disk", stage)
        each = EXPORTS if stage == "export" else EACH[share]
        rooms = [0, sum(sizes) - 1, *(random.randrange(sum(sizes)) for _ in range(each - 2))]
        made += [Trial(f"{stage}, full after {room} bytes", partial(_full, ground, stage, room)) for room in dict.fromkeys(rooms)]
        limits = [
            0,
            sizes[-1] - 1,
            *(random.choice([size - 1, random.randrange(size)]) for size in random.choices(sizes, k=each - 2)),
        ]
        made += [Trial(f"{stage}, no file beyond {most} bytes", partial(_bounded, ground, stage, most)) for most in dict.fromkeys(limits)]
        calls = range(1, ground.renames[stage] + 1)
        made += [Trial(f"{stage}, rename {number} fails", partial(_failing, ground, stage, number)) for number in calls]
    cheap = [one for one in made if not one.label.startswith("export")]
    return random_of(seed, "disk").sample(cheap, CI) if share == "ci" else made


def _full(ground: Ground, stage: str, room: int, folder: Path) -> tuple[list[Finding], Counter[str]]:
    return _tried(ground, stage, folder, lambda: _on_full_disk(stage, room))


def _bounded(ground: Ground, stage: str, most: int, folder: Path) -> tuple[list[Finding], Counter[str]]:
    return _tried(ground, stage, folder, lambda: _with_limit(stage, most))


def _failing(ground: Ground, stage: str, number: int, folder: Path) -> tuple[list[Finding], Counter[str]]:
    return _tried(ground, stage, folder, lambda: _with_failing_rename(stage, number))


def _tried(ground: Ground, stage: str, folder: Path, call: Callable[[], None]) -> tuple[list[Finding], Counter[str]]:
    place = ground.lay(folder, stage)
    expected = ground.until(stage)
    ended = child.run(call, place.work, place.environment(), SECONDS)
    if ended.hung:
        return [Finding("hang", ended_of(ended.said))], Counter()
    if ended.traced:
        return [Finding("traceback", ended_of(ended.said))], Counter()
    found = []
    if ended.code != 0:
        found += [Finding("leftover", left) for left in place.left(expected) if not left.startswith("cache/")]
        if _message(ended.said) is None:
            found.append(Finding("words", f"no message with a place: {ended_of(ended.said)}"))
    wrong = differing(place.work, expected)
    if half := [name for name in wrong if ended.code == 0 or not name.endswith("(missing)")]:
        found.append(Finding("loss", f"status {ended.code}, and {', '.join(half)}"))
    return found + _rerun(place, stage, expected), Counter({"told" if ended.code else "whole": 1})


def _message(said: str) -> str | None:
    """The one message of a stage: ``error: PLACE: REASON (what to do)``."""
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    reasons = (os.strerror(errno.ENOSPC), os.strerror(errno.EFBIG), "not enough space", "No usable temporary directory")
    return lines[0] if len(lines) == 1 and any(reason in said for reason in reasons) and "/" in said else None


def _rerun(place: Place, stage: str, expected: dict[str, str]) -> list[Finding]:
    again = place.stage(stage)
    if again.code != 0:
        return [Finding("hang" if again.hung else "loss", f"the rerun ends with {again.code}: {ended_of(again.said)}")]
    found = [Finding("loss", f"after the rerun: {name}") for name in differing(place.work, expected)]
    return found + [Finding("leftover", f"{name} after the rerun") for name in place.left(expected)]


def _with_limit(stage: str, most: int) -> None:
    """The system itself refuses, to libraries in C and Rust as well."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    child.stage(stage)


def _with_failing_rename(stage: str, failing: int) -> None:
    count = 0

    def full(plain: Callable[..., None]) -> Callable[..., None]:
        def renamed(source: Any, target: Any, **options: Any) -> None:
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(target))
            plain(source, target, **options)

        return renamed

    with child.changed(os, "rename", full(os.rename)), child.changed(os, "replace", full(os.replace)):
        child.stage(stage)


class _Room:
    """What is left of a disk, in bytes."""

    def __init__(self, left: int) -> None:
        self.left = left


class _Raw(io.FileIO):
    """A file on a disk that becomes full: a last write may be cut, as the system does it, and all later ones fail."""

    room: _Room

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        taken = min(len(view), self.room.left)
        if len(view) and not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room.left -= taken
        return super().write(view[:taken]) or 0


def _on_full_disk(stage: str, bytes_left: int) -> None:
    """Every file that Python opens for writing shares the room; ``/dev`` and what is open already do not."""
    room, plain = _Room(bytes_left), builtins.open

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: Any = None,
        errors: Any = None,
        newline: Any = None,
        *rest: Any,
        **more: Any,
    ) -> Any:
        if not set(mode) & set("wax+") or isinstance(file, int) or str(file).startswith("/dev/"):
            return plain(file, mode, buffering, encoding, errors, newline, *rest, **more)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""), *rest, **more)
        raw.room = room
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)

    with ExitStack() as stack:
        for owner in (builtins, io):
            stack.enter_context(child.changed(owner, "open", opened))
        child.stage(stage)
