"""docs/serve.md: what it prints can be run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile as sf

from ser.serving import cli
from ser.serving.page.limits import Limits
from ser.serving.page.openapi import ERRORS
from tests.serving import small
from tests.serving.served import Served, served

PAGE = (small.ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)
LINES = [line for language, block in BLOCKS if not language for line in block.splitlines()]
SERVE = [line for line in LINES if line.startswith("ser ")]


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Served]:
    with served(folder, Limits()) as found:
        yield found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recording that the page names."""
    sf.write(tmp_path / "x.wav", small.sound(), 16_000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", SERVE)
def test_every_command_is_one(line: str) -> None:
    cli.parser().parse_args(shlex.split(line, comments=True)[1:])


@pytest.mark.slow
@pytest.mark.parametrize("line", SERVE)
def test_every_command_serves(line: str, place: Path) -> None:
    command = [sys.executable, "-m", "ser", *shlex.split(line, comments=True)[1:], "--port", "0"]  # 8000 may be taken here
    environment = os.environ | {"PYTHONPATH": str(small.ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        try:
            assert running.stdout is not None
            address = re.sub("//[^:]*:", "//127.0.0.1:", running.stdout.readline().split()[0])
            with urllib.request.urlopen(address, timeout=300) as page:
                assert b"<h1>" in page.read()
        finally:
            running.terminate()


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("curl ")])
def test_every_request_is_answered(line: str, running: Served, place: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    command = line.replace("127.0.0.1:8000", f"127.0.0.1:{running.port}").replace("curl ", "curl --silent --fail ", 1)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert '"predictions"' in done.stdout
    assert ("moments" in done.stdout) == ("timeline" in line or "openapi" in line)


def test_the_program_runs(running: Served, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = [block for language, block in BLOCKS if language == "python"]
    exec(compile(program.replace("127.0.0.1:8000", f"127.0.0.1:{running.port}"), "docs/serve.md", "exec"), {})
    assert capsys.readouterr().out.split()[0] in small.CLASSES


def test_every_line_is_tested_and_every_status_is_named() -> None:
    assert {line.split()[0] for line in LINES} == {"ser", "curl", "pip"}
    assert set(re.findall(r"\b[45]\d\d\b", PAGE)) == set(ERRORS) - {"500"}
