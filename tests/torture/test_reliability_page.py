"""docs/reliability.md against the last whole run of the torture."""

from __future__ import annotations

import json
import re

from tests.pipeline import ROOT
from tests.torture import attacks

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
    assert record["revision"].removesuffix("-dirty")[:12] in PAGE
