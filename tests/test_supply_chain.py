"""What comes from elsewhere is known: licences, hashes, vulnerabilities where they can be asked for; and no credential goes out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ser.encoders.table import TABLE
from tests import audit, credentials, licences

ROOT = Path(__file__).resolve().parents[1]
PAGE = licences.PAGE.read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())


def test_the_page_names_the_licence_of_every_package_that_is_installed():
    assert audit.other_licences() == []


def test_a_package_that_is_not_on_the_page_or_has_another_licence_is_found(monkeypatch, tmp_path):
    page = tmp_path / "dependencies.md"
    changed = re.sub(r"(\| `numpy` +\| )[^|]*", r"\1GPL-3.0 ", "\n".join(line for line in PAGE.splitlines() if "| `requests` " not in line))
    page.write_text(changed + "\n| `left-pad` | MIT | predict |\n")
    monkeypatch.setattr(licences, "PAGE", page)
    said = audit.other_licences()
    assert any(re.fullmatch(r"requests \(Apache.*\) is not on the page", line) for line in said)
    assert any(line.startswith("numpy has the licence 'BSD") for line in said)
    assert len(said) == 3 or licences.resolved()[1]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("BSD", "BSD-3-Clause", True),
        ("MIT License", "MIT", True),
        ("Apache Software License", "Apache-2.0", True),
        ("MIT", "GPL-3.0", False),
        ("LGPL-2.1-or-later", "GPL-2.0", False),
        ("Apache-2.0", "Apache-2.0 OR MIT", False),
        ("not said", "MIT", False),
    ],
)
def test_which_words_mean_the_same_kind_of_licence(one: str, other: str, alike: bool) -> None:
    assert (licences.families(one) == licences.families(other)) == alike


def test_no_line_of_the_page_lacks_a_licence():
    rows = licences.rows(PAGE)
    assert len(rows) > 100
    assert {needed for _, needed in rows.values()} == {"predict", "laboratory", "development"}
    assert [name for name, (what, _) in rows.items() if not what.strip()] == []
    assert licences.ELSEWHERE.keys() <= rows.keys()


def test_no_file_of_the_repository_holds_a_credential():
    assert credentials.found() == []


EXAMPLES = {
    "private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "AWS key id": "AKIA" + "ABCDEFGHIJKLMNOP",
    "AWS secret": "aws_secret_access_key = " + "abcdefghij" * 4,
    "GitHub token": "ghp" + "_" + "a1" * 18,
    "GitLab token": "glpat" + "-" + "a1" * 10,
    "Hugging Face token": "hf" + "_" + "aB" * 17,
    "Slack token": "xoxb" + "-" + "1234567890",
    "Google key": "AIza" + "a" * 35,
    "PyPI token": "pypi" + "-" + "A" * 70,
    "npm token": "npm" + "_" + "a" * 36,
    "key of a model's API": "sk" + "-" + "a" * 40,
    "Kaggle key": '"key"' + ': "' + "0f" * 16 + '"',
    "Azure storage key": "AccountKey" + "=" + "a" * 44,
    "web token": "eyJ" + "a" * 20 + ".eyJ" + "b" * 20 + "." + "c" * 20,
    "password in an address": "https://ada" + ":" + "engine@example.org/x",
    "password beside its name": "pass" + "word = 'correct-horse'",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


@pytest.mark.parametrize("what", credentials.FORMS)
def test_each_form_of_a_credential_is_found_with_its_line_and_not_repeated(repository: Path, what: str) -> None:
    (repository / "notes.txt").write_text(f"one\ntwo {EXAMPLES[what]} three\n")
    assert f"notes.txt:2: {what}" in credentials.found(repository)
    assert not any(EXAMPLES[what] in line for line in credentials.found(repository))


@pytest.mark.parametrize("name", [".env", "a/.netrc", "kaggle.json", ".dvc/config.local", "tls/key.pem", "id_rsa", ".aws/credentials"])
def test_files_of_these_names_are_found(repository: Path, name: str) -> None:
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text("")
    assert credentials.found(repository) == [f"{name}: a file of this name holds credentials"]


@pytest.mark.parametrize("text", ["", "token = read()", "https://user@example.org/a:b@c", "password: str", "sk-learn", "s3://bucket/a:b"])
def test_ordinary_text_is_no_credential(repository: Path, text: str) -> None:
    (repository / "a.py").write_text(text)
    assert credentials.found(repository) == []


def auditor(folder: Path, code: str) -> Path:
    """A program in the place of pip-audit."""
    path = folder / "pip-audit"
    path.write_text(f"#!{sys.executable}\nimport json, sys, time\n{code}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials and no other licences: they have tests of their own."""
    monkeypatch.setattr(credentials, "found", list)
    monkeypatch.setattr(audit, "other_licences", list)


def answer(*packages: dict[str, Any]) -> str:
    return f"print({json.dumps({'dependencies': packages})!r}); sys.exit({any(one.get('vulns') for one in packages):d})"


def test_the_auditor_has_to_be_named():
    done = subprocess.run([sys.executable, "-m", "tests.audit"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.startswith("error: give the program pip-audit")) == (1, True)


def test_a_clean_audit(tmp_path, nothing_else, capsys):
    clean, odd = {"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not on the index"}
    assert audit.main(auditor(tmp_path, answer(clean, odd))) == 0
    said = capsys.readouterr().out
    assert "no known vulnerability" in said
    assert "not known to the service: b: not on the index" in said


def test_a_vulnerability_fails_the_audit(tmp_path, nothing_else, capsys):
    flaw = {"id": "PYSEC-1", "fix_versions": ["2"], "description": "…"}
    assert audit.main(auditor(tmp_path, answer({"name": "a", "version": "1", "vulns": [flaw]}))) == 1
    assert "vulnerability: a 1: PYSEC-1; fixed in 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("sys.exit('ConnectionError: Failed to resolve pypi.org')", "pip-audit ended with 1: ConnectionError: Failed to resolve pypi.org"),
        ("pass", "pip-audit ended with 0: no answer"),
        ("print('[]')", "pip-audit ended with 0"),
        ("print('{\"dependencies\": 5}')", "pip-audit ended with 0"),
        ("print('{\"dependencies\": [5]}')", "pip-audit ended with 0"),
        ('print(\'{"dependencies": [{"name": "a", "vulns": [5]}]}\')', "pip-audit ended with 0"),
        ("print('{}')", "pip-audit ended with 0"),
        (
            answer({"name": "a", "skip_reason": "not found"}, {"name": "b", "skip_reason": "not found"}),
            "the service knows none of 2 packages",
        ),
    ],
)
def test_a_service_that_cannot_be_asked_is_no_clean_bill(tmp_path, nothing_else, capsys, code, why):
    assert audit.main(auditor(tmp_path, code)) == 2
    said = capsys.readouterr().out
    assert f"NOT ASKED for known vulnerabilities: {why}" in said
    assert "no known vulnerability" not in said


def test_a_missing_auditor_and_a_silent_service_are_no_clean_bill(tmp_path, nothing_else, capsys):
    assert audit.main(tmp_path / "none") == 2
    assert "NOT ASKED" in capsys.readouterr().out
    with pytest.raises(audit.NotAsked, match="timed out"):
        audit.vulnerabilities(auditor(tmp_path, "time.sleep(60)"), patience=0.5)


def test_every_archive_has_a_checksum_or_its_publisher_names_one_at_the_first_download():
    corpora = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")["corpora"]
    for name, corpus in corpora.items():
        source = corpus["source"]
        bare = [one["name"] for one in source.get("archives", []) if one["checksum"] is None]
        assert bare == [] or source["kind"] == "zenodo", name
        if source["kind"] == "zenodo" and (bare or not source["archives"]):
            assert name in ("asvp_esd_v1", "asvp_esd_v2", "emodb"), f"{name}: name it in docs/dependencies.md (tests/licences.py)"
    assert "null or no archive is named (both ASVP-ESD, EMO-DB), the md5 of Zenodo's API counts" in PROSE


def test_every_encoder_has_a_commit_and_a_sha256_or_is_resolved_at_the_first_download():
    for one in TABLE:
        assert re.fullmatch(r"[0-9a-f]{40}|", one.commit), one.name
        assert re.fullmatch(r"[0-9a-f]{64}|", one.sha256), one.name
        assert one.sha256 or one.family != "whisper", one.name
    assert "Where a field is empty, the hub is asked at the first download" in PROSE
