"""Files between two stages that are damaged: a byte flipped, a bit flipped, cut, emptied, a page of zeros, a line lost, rubbish at the end.

Then a stage that depends on the file runs. Either it ends with one message that names the file, or its outputs are the same bytes as ever.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from functools import partial
from pathlib import Path

from ruamel.yaml import YAML

from tests.pipeline import ROOT
from tests.torture.attack import Finding, Share, Trial, ended_of, random_of
from tests.torture.ground import STAGES, Ground, differing

EACH = {"ci": 1, "whole": 7}
"""Damages of each file and reader in the whole; the CI share draws some of those with one each."""
CI = 12
HOWS = ("byte", "bit", "cut", "emptied", "zeros", "line lost", "rubbish")


def trials(ground: Ground, seed: int, share: Share) -> list[Trial]:
    """All trials of a share: every file, every stage that depends on it."""
    made = []
    for writer in STAGES:
        for name in ground.files[writer]:
            for reader in _readers(name, writer):
                for number in range(EACH[share]):
                    how = random_of(seed, "how", name, reader).sample(HOWS, len(HOWS))[number]
                    label = f"{reader} reads {name}, {how}"
                    made.append(Trial(label, partial(_tried, ground, seed, writer, name, reader, how)))
    return random_of(seed, "damaged").sample(made, min(CI, len(made))) if share == "ci" else made


def damage(data: bytes, how: str, chosen: random.Random) -> bytes:
    """Other bytes."""
    at = chosen.randrange(max(1, len(data)))
    if how == "byte":
        return data[:at] + bytes([data[at] ^ chosen.randrange(1, 256)]) + data[at + 1 :]
    if how == "bit":
        return data[:at] + bytes([data[at] ^ 1 << chosen.randrange(8)]) + data[at + 1 :]
    if how == "cut":
        return data[:at]
    if how == "emptied":
        return b""
    if how == "zeros":
        return data[:at] + bytes(min(512, len(data) - at)) + data[at + 512 :]
    if how == "line lost":
        lines = data.splitlines(keepends=True)
        return b"".join(line for number, line in enumerate(lines) if number != at % len(lines))
    return data + chosen.randbytes(chosen.randrange(1, 4096))


def _readers(name: str, writer: str) -> list[str]:
    """Stages after the writer that depend on this file."""
    stages = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    found = []
    for stage in STAGES[STAGES.index(writer) + 1 :]:
        places = [dep.replace("${item.dataset}", "demo") for dep in stages[stage]["deps"]]
        if stage == "report":  # what it reads of data/ is left out of its dependencies
            places += ["data/examples/demo.npz", "data/clips/demo/rejected.csv"]
        if any(name == place or name.startswith(f"{place}/") for place in places):
            found.append(stage)
    return found


def _tried(ground: Ground, seed: int, writer: str, name: str, reader: str, how: str, folder: Path) -> tuple[list[Finding], Counter[str]]:
    place = ground.lay(folder, reader)
    path = place.work / name
    whole = path.read_bytes()
    broken = damage(whole, how, random_of(seed, "damage", name, reader, how))
    if broken == whole:
        return [], Counter({"same bytes": 1})
    kept = os.stat(path)
    path.write_bytes(broken)
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    ended = place.stage(reader)
    if ended.hung:
        return [Finding("hang", ended_of(ended.said))], Counter()
    if ended.traced:
        return [Finding("traceback", ended_of(ended.said))], Counter()
    own = ground.files[reader]
    if ended.code == 0:
        wrong = differing(place.work, own)
        if wrong:
            return [Finding("loss", f"no word, and other outputs: {', '.join(wrong)[:200]}")], Counter({"silent": 1})
        return [], Counter({"harmless": 1})
    found = [Finding("leftover", left) for left in place.left(ground.until(reader)) if not left.startswith("cache/")]
    if name not in ended.said and name.rpartition("/")[0] not in ended.said:
        found.append(Finding("words", f"the message does not name {name}: {ended_of(ended.said)}"))
    if half := [one for one in differing(place.work, own) if not one.endswith("(missing)")]:
        found.append(Finding("loss", f"refused, but wrote {', '.join(half)}"))
    return found, Counter({"detected": 1})
