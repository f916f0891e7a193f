"""Where a result was made."""

from __future__ import annotations

import os
import subprocess

from ser.runtime.provenance import LIBRARIES, provenance


def test_provenance_without_cpu_affinity_as_on_macos(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert provenance().cores == 7


def test_the_revision_says_whether_tracked_files_were_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance().revision == ""  # outside git
    (tmp_path / "file").write_text("one")
    record = tmp_path / "metrics/benchmarks/speed.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    commit = ["git", "-c", "user.email=a@example.org", "-c", "user.name=A", "commit", "-qm", "one"]
    for command in (["git", "init", "-q"], ["git", "add", "."], commit):
        subprocess.run(command, check=True)
    clean = provenance().revision
    assert len(clean) == 12
    record.write_text("[]")
    assert provenance().revision == clean  # a record of a benchmark is no code
    monkeypatch.chdir(record.parent)
    (tmp_path / "file").write_text("two")
    assert provenance().revision == f"{clean}-dirty"


def test_versions_are_those_of_installed_packages(monkeypatch):
    monkeypatch.setattr("ser.runtime.provenance.LIBRARIES", ("numpy", "no-such-package"))
    assert list(provenance().libraries) == ["numpy"]
    assert "no-such-package" not in LIBRARIES


def test_no_graphics_card_is_no_error(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance().gpu == []
