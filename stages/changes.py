"""Which parameters differ from the last commit, and the way back.

``dvc exp run -S`` writes params.yaml and leaves it so, also when the run fails. The next experiment therefore starts from there.

    python -m stages.changes            # list the keys that differ
    python -m stages.changes --reset    # params.yaml as in the last commit, and no other file
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ser import SerError
from ser.runtime.disk import disk_error, file_written_whole
from ser.runtime.output import printed
from ser.runtime.text import printable
from stages.ending import in_words

FILE = Path("params.yaml")
LISTED = 6
"""Changed keys that one line names; the rest are counted."""
DEEPEST = 6
"""Levels of sections and lists that are looked into: with anchors and aliases a short file can nest without end."""
_NO_YAML = (YAMLError, AttributeError, RecursionError, ValueError, KeyError)
"""What ruamel.yaml raises on what is no YAML, or is none of its values."""


def main() -> None:
    """Command line: see ``python -m stages.changes --help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reset", action="store_true", help="restore params.yaml from the last commit and say what that undid")
    options = parser.parse_args()
    with in_words(), printed():
        if options.reset:
            print(reset())
        elif said := line():
            print(said)


def line(path: Path = FILE) -> str | None:
    """One line that names the keys whose value is not that of the last commit; None if no key differs or there is no commit."""
    found = since_commit(path)
    if not found:
        return None
    way = f"Commit {printable(', '.join(fresh))} before `make reset`." if (fresh := new_sections(path)) else "`make reset` restores it."
    return f"{path} differs from the last commit in: {', '.join(named(found, LISTED))}. {way}"


def new_sections(path: Path = FILE) -> list[str]:
    """Corpora and views that the last commit does not know, such as ``corpora.cafe``: work to commit, not the trace of an experiment."""
    before, now = committed(path), _content(path)
    if before is None or now is None:
        return []
    yaml = YAML(typ="safe", pure=True)
    try:
        old, new = yaml.load(before), yaml.load(now)
        return [f"{part}.{key}" for part in ("corpora", "features") for key in new[part] if key not in old[part]]
    except (*_NO_YAML, TypeError):  # the file is not a mapping of these sections
        return []


def named(values: dict[str, Any], most: int) -> list[str]:
    """``key = value`` for the first values, and how many more there are."""
    more = [f"and {len(values) - most} more"] if len(values) > most else []
    return [f"{printable(key)} = {_short(value)}" for key, value in list(values.items())[:most]] + more


def since_commit(path: Path = FILE) -> dict[str, Any]:
    """What ``changed`` finds between the last commit and the file; empty without a commit."""
    before, now = committed(path), _content(path)
    return {} if before is None or now is None else changed(now, before)


def changed(now: bytes, before: bytes) -> dict[str, Any]:
    """The values of a params.yaml by dotted key where another has a different value or none; None for keys that only the other has.

    Empty if one of them cannot be parsed.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        old, new = by_key(yaml.load(before)), by_key(yaml.load(now))
    except _NO_YAML:  # AttributeError: the file is not a mapping
        return {}
    return {key: new.get(key) for key in [*new, *(key for key in old if key not in new)] if key not in old or old[key] != new.get(key)}


def reset(path: Path = FILE) -> str:
    """Write params.yaml as the last commit has it, in git's index too, and touch nothing else.

    A killed ``dvc exp run`` leaves it in the index, and the next one would take that for a conflict.

    Returns:
        What it did: each key with the value that it had, or that there was nothing to do.

    Raises:
        SerError: if git has no commit with params.yaml, a merge has left it in conflict, the file has corpora or views that no commit
            has, or it cannot be written.
    """
    before = committed(path)
    if before is None:
        raise SerError(f"git has no commit with {path} here, so there is nothing to restore it from")
    if path.exists() and not path.is_file():
        raise SerError(f"{path} is no file: remove it, and run `make reset` again")
    if in_conflict(path):
        raise SerError(f"{path} is in conflict, and the other side would be lost: resolve it, or end the merge (`git merge --abort`)")
    now = _content(path)
    if now == before:
        _unstage(path)
        return f"{path} is already as in the last commit"
    if fresh := new_sections(path):
        raise SerError(
            f"`make reset` would remove {', '.join(fresh)} from {path}: commit first (`git add -A && git commit`), or remove it yourself"
        )
    lost = since_commit(path)
    other = "only its layout or comments differed" if now is not None and _has_keys(now) else "it could not be read"
    try:
        with file_written_whole(path) as part:
            part.write_bytes(before)
    except OSError as error:
        raise SerError(disk_error(error) or f"{path} cannot be written: {error.strerror}") from None
    _unstage(path)
    undone = [f"  {printable(key)} was {_short(value)}" for key, value in lost.items()] or [f"  {other}"]
    after = f"{path} is again as in the last commit; nothing else was touched. `dvc repro` brings the results that belong to it."
    return "\n".join([*undone, after])


def _has_keys(content: bytes) -> bool:
    try:
        return bool(by_key(YAML(typ="safe", pure=True).load(content)))
    except _NO_YAML:
        return False


def _content(path: Path) -> bytes | None:
    """What the file holds; None where it cannot be read, which ``ser.params.load`` says, or is no file: a pipe might never end."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError:
        return None


def in_conflict(path: Path) -> bool:
    """Whether a merge, rebase or pick that has not ended holds two versions of the file. A killed experiment leaves no such head."""
    if not _git("ls-files", "--unmerged", "--", str(path)).stdout:
        return False
    heads = ("MERGE_HEAD", "REBASE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD")
    return any(_git("rev-parse", "--quiet", "--verify", head).returncode == 0 for head in heads)


def _unstage(path: Path) -> None:
    if _git("diff", "--cached", "--quiet", "--", str(path)).returncode == 0:
        return
    done = _git("restore", "--staged", "--", str(path))
    if done.returncode != 0:
        said = printable(done.stderr.decode(errors="replace").strip().split("\n")[0])
        raise SerError(f"{path} is as in the last commit, but git's index holds another version, and git cannot take it back: {said}")


def _git(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *words], capture_output=True)


def revisions(path: Path) -> list[str]:
    """The commits that changed a file, the last first; none without git or a commit."""
    try:
        done = subprocess.run(["git", "rev-list", "HEAD", "--", str(path)], capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return done.stdout.split() if done.returncode == 0 else []


def committed(path: Path = FILE, revision: str = "HEAD") -> bytes | None:
    """The file's content in the last commit, or another; None without git, a commit, or the file in it."""
    try:
        done = subprocess.run(["git", "show", f"{revision}:./{path}"], capture_output=True)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def by_key(values: dict[str, Any], prefix: str = "", whole: Collection[str] = ()) -> dict[str, Any]:
    """Nested sections as values by dotted key; lists are values, and so are the sections whose keys are in ``whole``."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        section = isinstance(value, dict) and path not in whole and prefix.count(".") < DEEPEST
        found |= by_key(value, f"{path}.", whole) if section else {path: value}
    return found


def _short(value: Any, level: int = 0) -> str:
    """A value as YAML users write it, cut where it is long or deep."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | set | list) and (not isinstance(value, list) or level > DEEPEST // 2):
        return "…"
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"a number of {value.bit_length()} bits"  # Python would refuse to write it
    text = f"[{','.join(_short(one, level + 1) for one in value[:20])}]" if isinstance(value, list) else printable(str(value))
    return text if len(text) <= 40 else f"{text[:39]}…"


if __name__ == "__main__":
    main()
