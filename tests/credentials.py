"""Looks for credentials in the files that git tracks: a table of the forms that keys and tokens have."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FORMS = {
    "private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----",
    "AWS key id": rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "AWS secret": rb"(?i)aws_?secret_?access_?key[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}",
    "GitHub token": rb"\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{60}",
    "GitLab token": rb"\bglpat-[A-Za-z0-9_-]{20}",
    "Hugging Face token": rb"\bhf_[A-Za-z0-9]{30}",
    "Slack token": rb"\bxox[abprs]-[A-Za-z0-9-]{10}",
    "Google key": rb"\bAIza[A-Za-z0-9_-]{35}",
    "PyPI token": rb"\bpypi-[A-Za-z0-9_-]{60}",
    "npm token": rb"\bnpm_[A-Za-z0-9]{36}",
    "key of a model's API": rb"\bsk-[A-Za-z0-9_-]{32}",
    "Kaggle key": rb"[\"']key[\"']\s*:\s*[\"'][0-9a-f]{32}[\"']",
    "Azure storage key": rb"AccountKey=[A-Za-z0-9+/]{40}",
    "web token": rb"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "password in an address": rb"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'<>{}$]+:[^\s/:@\"'<>{}$]+@[\w.-]+",
    "password beside its name": rb"(?i)\b(password|passwd|api_?key|secret|access_?token)[\"']?\s*[=:]\s*[\"'][^\s\"'<>{}$]{8,}[\"']",
}
"""What it is → how it looks."""
_FORMS = {what: re.compile(form) for what, form in FORMS.items()}

NAMES = re.compile(
    r"(^|/)(\.env(\..*)?|\.netrc|\.pypirc|kaggle\.json|config\.local|credentials|id_(rsa|dsa|ecdsa|ed25519)"
    r"|[^/]*\.(pem|p12|pfx|key))$"
)
"""Names of files that hold nothing else."""


def tracked(root: Path = ROOT) -> list[str]:
    """Files that git tracks, or would with ``git add -A``."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root, check=True, capture_output=True)
    return [name for name in listed.stdout.decode("utf-8", "surrogateescape").split("\0") if name and (root / name).is_file()]


def found(root: Path = ROOT) -> list[str]:
    """``file:line: what`` of everything that looks like a credential; the credential itself is not repeated."""
    return [line for name in tracked(root) for line in _in_file(name, (root / name).read_bytes())]


def _in_file(name: str, content: bytes) -> Iterator[str]:
    if NAMES.search(name):
        yield f"{name}: a file of this name holds credentials"
    if b"\0" in content[:8000]:  # as git tells what is no text
        return
    for what, form in _FORMS.items():
        for match in form.finditer(content):
            line = content.count(b"\n", 0, match.start()) + 1
            yield f"{name}:{line}: {what}"
