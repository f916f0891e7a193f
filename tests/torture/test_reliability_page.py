"""docs/reliability.md against the last whole run of the torture."""

from __future__ import annotations

import json
import re

import benchmarks.record
from tests.pipeline import ROOT
from tests.torture import attacks
from tests.torture.attack import Result

PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
RECORD = ROOT / "metrics/benchmarks/torture.json"


def test_every_attack_is_described():
    described = re.findall(r"^\| `(\w+)` \| [^|\d]", PAGE, re.MULTILINE)
    assert described == list(attacks.ATTACKS)


def test_the_figures_are_those_of_the_record():
    """Without a record there is no section of figures, and with one there is a line for each of its rows and no other."""
    shown = re.findall(r"^\| `\w+` \| [\d,]+ \|.*$", PAGE, re.MULTILINE)
    if not RECORD.exists():
        assert shown == []
        return
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert shown == [attacks.page_line(row) for row in record["rows"]]
    assert f"seed {record['figures']['seed']}" in PAGE
    assert f"{record['figures']['minutes']:g} minutes" in PAGE
    assert record["command"] in PAGE
    assert not [row["attack"] for row in record["rows"] if row["revision"].endswith("-dirty")]


def test_attacks_made_one_at_a_time_stand_in_one_record(tmp_path, monkeypatch, capsys):
    for module in (attacks, benchmarks.record):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    attacks.write([Result("kills", 0, trials=3, seconds=60.0)])
    attacks.write([Result("damaged", 0, trials=5, seconds=30.0)])
    record = json.loads((tmp_path / "torture.json").read_text(encoding="utf-8"))
    assert [(row["attack"], row["trials"]) for row in record["rows"]] == [("damaged", 5), ("kills", 3)]
    assert (record["figures"]["kill_trials"], record["figures"]["damaged"], record["figures"]["minutes"]) == (3, 5, 1.5)
    attacks.write([Result("kills", 0, trials=4)])  # made again
    record = json.loads((tmp_path / "torture.json").read_text(encoding="utf-8"))
    assert [(row["attack"], row["trials"]) for row in record["rows"]] == [("damaged", 5), ("kills", 4)]
    attacks.write([Result("pairs", 1, trials=2)])  # of another seed: those before do not count
    record = json.loads((tmp_path / "torture.json").read_text(encoding="utf-8"))
    assert [(row["attack"], row["trials"]) for row in record["rows"]] == [("pairs", 2)]
