"""The table of attacks, and the record of a whole run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.record import FOLDER, record
from ser.params import load
from ser.runtime.provenance import provenance
from tests.torture import damaged, disk, files, fuzz, kills, pairs, parameters
from tests.torture.attack import KINDS, Result, Share, Trial
from tests.torture.ground import Ground

ATTACKS: Mapping[str, Callable[[Ground, int, Share], list[Trial]]] = {
    "damaged": damaged.trials,
    "kills": kills.trials,
    "disk": disk.trials,
    "files": files.trials,
    "params": parameters.trials,
    "fuzz": fuzz.trials,
    "pairs": pairs.trials,
}
"""Name → its trials."""
FIGURES = {
    "damaged": "damaged",
    "kills": "kill_trials",
    "disk": "disk_full",
    "files": "bad_files",
    "params": "bad_params",
    "fuzz": "fuzz_inputs",
    "pairs": "pairs",
}
"""Name → the figure that counts its trials."""
PLURALS = {"loss": "losses", "hang": "hangs", "traceback": "tracebacks", "orphan": "orphans", "leftover": "leftovers", "words": "unclear"}
"""Kind of finding → the figure that counts it."""
SHOWN = 8
"""Characters of a commit on the page."""


def write(results: Sequence[Result]) -> None:
    """Write ``metrics/benchmarks/torture.json``: the counts, and a row for each attack with what came out and its first findings.

    Rows of other attacks stay, if they are of the same seed: the attacks of a whole run may be made one at a time, and one that has
    found something is made again once that is mended. Each row names the commit that was attacked.
    """
    made = {found.name: _row(found) for found in results}
    every = {**_earlier(results[0].seed), **made}
    rows = [every[name] for name in ATTACKS if name in every]
    figures: dict[str, Any] = {FIGURES[row["attack"]]: row["trials"] for row in rows}
    figures |= {PLURALS[kind]: sum(row[PLURALS[kind]] for row in rows) for kind in KINDS}
    figures |= {"seed": results[0].seed, "minutes": round(sum(row["seconds"] for row in rows) / 60, 1)}
    print("\n".join(map(page_line, rows)), end="\n\n")
    record("torture", figures, rows, "python -m tests.torture", params=load(), sections=())


def _earlier(seed: int) -> dict[str, dict[str, Any]]:
    """Rows of the record by attack; none where it is of another seed."""
    path = FOLDER / "torture.json"
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {row["attack"]: row for row in found["rows"]} if found["figures"]["seed"] == seed else {}


def page_line(row: Mapping[str, Any]) -> str:
    """A row of the record as docs/reliability.md shows it."""
    counts = [str(row[PLURALS[kind]]) for kind in KINDS]
    return f"| `{row['attack']}` | {row['trials']:,} | {' | '.join(counts)} | {row['outcomes']} | {row['revision'][:SHOWN]} |"


def _row(found: Result) -> dict[str, Any]:
    counts = {PLURALS[kind]: found.of_kind(kind) for kind in KINDS}
    outcomes = ", ".join(f"{name} {count:,}" for name, count in sorted(found.outcomes.items()))
    said = {"trials": found.trials, "seconds": round(found.seconds), **counts, "outcomes": outcomes}
    return {"attack": found.name, **said, "revision": provenance().revision}
