"""Ctrl-C in a command, from its first import on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipeline import ROOT


@pytest.mark.parametrize("at", ["import", "main"])
def test_it_ends_with_130_and_without_a_word(tmp_path: Path, at: str) -> None:
    wait = "from pathlib import Path; import time; Path('begun').touch(); time.sleep(1); Path('whole').touch(); time.sleep({})"
    begin, later = (wait.format(0), "raise AssertionError('it went on')") if at == "import" else ("", wait.format(60))
    (tmp_path / "slow.py").write_text(f"{begin}\ndef main():\n    {later}\n")
    command = [sys.executable, "-c", "from ser.runtime import commands; commands.run('slow')"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as child:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(child.pid, signal.SIGINT)
        _, said = child.communicate(timeout=60)
    assert (child.returncode, said) == (130, "")
    assert (tmp_path / "whole").exists() == (at == "import"), "an import is not cut in two"


@pytest.mark.parametrize(
    ("module", "first"), [("ser.diagram", "matplotlib._version"), ("ser.model.fusions", "pydantic_core"), ("ser", "ser.runtime.text")]
)
def test_the_commands_are_run_so(module: str, first: str) -> None:
    """Interrupted after one of the first imports, when most of the others are still to come."""
    command = [sys.executable, "-X", "importtime", "-m", module, "--help"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.split("|")[-1].strip() == first:
                os.killpg(child.pid, signal.SIGINT)
                break
        rest = child.stderr.read()
    assert child.returncode == 130
    assert "Traceback" not in rest
