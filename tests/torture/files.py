"""Odd sound files on the three ways into the laboratory: ``ser predict``, a folder of one's own, an archive. Each is accounted for."""

from __future__ import annotations

import csv
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ser.corpora.labels import AUDIO
from tests.torture import child, sounds
from tests.torture.attack import Finding, Share, Trial, ended_of, random_of
from tests.torture.child import Ended
from tests.torture.ground import Ground, Place, set_params

EACH = 25
"""Files of a trial."""
TRIALS = {"ci": 1, "whole": 12}
"""Trials of each way."""
SECONDS = 300.0
MEMORY = 3 << 30
"""Bytes beyond the interpreter and the model that a few short files may take at most."""

Found = tuple[list[Finding], Counter[str]]


def trials(ground: Ground, seed: int, share: Share) -> list[Trial]:
    """All trials of a share."""
    ways: tuple[tuple[str, Callable[..., Found]], ...] = (("predict", _predict), ("folder", _folder), ("archive", _archive))
    return [Trial(f"{way} {number}", partial(tried, ground, seed, number), EACH) for way, tried in ways for number in range(TRIALS[share])]


def _odd(seed: int, way: str, number: int) -> dict[str, bytes]:
    """Names and bytes of the files of a trial."""
    made = {}
    for one in range(EACH):
        chosen = random_of(seed, "files", way, number, one)
        suffix, data = sounds.odd(chosen)
        made[sounds.name_of(chosen, one, suffix)] = data
    return made


def _predict(ground: Ground, seed: int, number: int, folder: Path) -> Found:
    place = Place(folder)
    names = _odd(seed, "predict", number)
    for name, data in names.items():
        (place.work / name).write_bytes(data)
    options = ["predict", "--bundle", str(ground.folder / "exports/demo"), "--jsonl", "--", *names]
    report = place.folder / "out"
    ended = child.run(lambda: _to_file(report, options), place.work, place.environment(), SECONDS, MEMORY)
    if bad := _ended_badly(ended, (0, 1)):
        return bad, Counter()
    found = []
    told = {entry["path"]: entry for entry in map(json.loads, report.read_text(encoding="utf-8").splitlines())}
    found += [Finding("loss", f"predict says nothing of {name!r}") for name in names if name not in told]
    mute = [name for name, entry in told.items() if not entry.get("problem") and not entry.get("probabilities")]
    found += [Finding("loss", f"predict has neither an answer nor a problem for {name!r}") for name in mute]
    accepted = sum(not entry.get("problem") for entry in told.values())
    if (ended.code == 1) != (accepted < len(names)):
        found.append(Finding("loss", f"status {ended.code} with {accepted} of {len(names)} answers"))
    return found, Counter({"accepted": accepted, "rejected with a reason": len(told) - accepted})


def _folder(ground: Ground, seed: int, number: int, folder: Path) -> Found:
    place = ground.lay(folder, "download")
    names = {
        f"{'happy' if at % 2 else 'sad'}/speaker {at % 3}/{name}": data
        for at, (name, data) in enumerate(_odd(seed, "folder", number).items())
    }
    names |= _two_good(ground)
    for name, data in names.items():
        path = place.work / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    _as_folder(place)
    renamed = 0
    while True:
        ended = child.run(lambda: child.stage("download", "folder"), place.work, place.environment(), SECONDS)
        refused = [name for name in names if "\\" in name and f"recordings/{name}: a backslash in a name" in ended.said]
        if ended.code != 1 or not refused:
            break
        (name,) = refused  # one at a time, as the message asks for it
        path = place.work / "recordings" / name
        path.rename(path.with_name(path.name.replace("\\", "_")))
        names[name.replace("\\", "_")] = names.pop(name)
        renamed += 1
    if bad := _ended_badly(ended, (0,)):
        return bad, Counter()
    found, outcomes = _accounted(place, set(names))
    return found, outcomes + Counter({"renamed as the message asks": renamed})


def _archive(ground: Ground, seed: int, number: int, folder: Path) -> Found:
    place = ground.lay(folder, "download")
    raw = place.work / "data/raw/folder"
    raw.mkdir(parents=True)
    names = {
        f"{'happy' if at % 2 else 'sad'}/s{at % 3}/{name}": data for at, (name, data) in enumerate(_odd(seed, "archive", number).items())
    }
    names |= _two_good(ground)
    with zipfile.ZipFile(raw / "recordings.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in names.items():
            packed.writestr(name, data)
    (raw / "source.json").write_text(json.dumps({"archives": [{"name": "recordings.zip"}], "edition": "made"}))
    _as_folder(place)
    return _accounted(place, {name.replace("\\", "/") for name in names})


def _accounted(place: Place, names: set[str]) -> Found:
    """Preprocess the corpus ``folder``, and find each name among the clips or the rejected."""
    ended = child.run(lambda: child.stage("preprocess", "folder"), place.work, place.environment(), SECONDS, MEMORY)
    if bad := _ended_badly(ended, (0,)):
        return bad, Counter()
    clips, rejected = (
        _column(place.work / f"data/clips/folder/{table}.csv", column) for table, column in (("clips", "clip"), ("rejected", "path"))
    )
    found = [Finding("loss", f"{name!r} is neither a clip nor rejected") for name in sorted(names - set(clips) - set(rejected))]
    found += [Finding("loss", f"{name!r} is both a clip and rejected") for name in sorted(set(clips) & set(rejected))]
    found += [Finding("loss", f"{name!r} was never there") for name in sorted((set(clips) | set(rejected)) - names)]
    mute = [name for name, reason in rejected.items() if not reason]
    found += [Finding("loss", f"{name!r} is rejected without a reason") for name in mute]
    return found, Counter({"accepted": len(clips), "rejected with a reason": len(rejected)})


def _ended_badly(ended: Ended, codes: tuple[int, ...]) -> list[Finding]:
    if ended.hung:
        return [Finding("hang", ended_of(ended.said))]
    if ended.traced:
        return [Finding("traceback", ended_of(ended.said))]
    return [] if ended.code in codes else [Finding("loss", f"status {ended.code}: {ended_of(ended.said)}")]


def _as_folder(place: Place) -> None:
    set_params(
        place.work, {"corpora.folder.source.path": "recordings", "corpora.folder.labels.classes": [], "preprocess.max_rejected": 1.0}
    )


def _two_good(ground: Ground) -> dict[str, bytes]:
    """A recording of each label, so that the corpus is one."""
    with zipfile.ZipFile(next((ground.folder / "data/raw/demo").glob("*.zip"))) as packed:
        names = [name for name in packed.namelist() if name.lower().endswith(AUDIO)][:2]
        return {f"{label}/good/{label}{Path(name).suffix}": packed.read(name) for label, name in zip(("happy", "sad"), names, strict=True)}


def _column(path: Path, name: str) -> dict[str, str]:
    """The names in a table, each with its reason or emotion."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {row[name]: row.get("reason") or row.get("emotion") or "" for row in csv.DictReader(stream)}


def _to_file(report: Path, options: list[str]) -> None:
    """The command ``ser``, its answers in a file and its warnings where they were."""
    os.dup2(os.open(report, os.O_WRONLY | os.O_CREAT), 1)
    child.module("ser", *options)
