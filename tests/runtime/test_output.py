"""Commands whose standard output is full, closed, or read by nobody end in one message or in none."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline import ROOT

COMMANDS = [
    "stages.changes --reset",
    "stages.preset",
    "stages.preset paper",
    "stages.table",
    "ser.model.fusions",
    "ser.diagram --picture {folder}/a.svg",
    "ser bundles",
]
QUICK = [command for command in COMMANDS if not command.startswith("ser.diagram")]
"""Those that do not import torch."""
FULL = "No space left on device"


def ran(command: str, folder: Path, to: str, unbuffered: str) -> subprocess.CompletedProcess[str]:
    """The command in a shell, in a small repository of its own; ``to`` is what follows it there."""
    line = f"{sys.executable} -m {command.format(folder=folder)} {to}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered, "LINE": line}
    return subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    for name in ("params.yaml", "docs/presets/paper.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    own = ["-c", "user.email=a@example.org", "-c", "user.name=A"]
    for words in (["init", "-q"], ["add", "-A"], [*own, "commit", "-qm", "start"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_one_message(project: Path, command: str, unbuffered: str) -> None:
    done = ran(command, project, "> /dev/full", unbuffered)
    assert done.returncode == 1, done.stderr
    assert FULL in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", QUICK)
def test_a_reader_that_has_left_is_no_error(project: Path, command: str, unbuffered: str) -> None:
    done = ran(command, project, "| exec 0<&-; echo ${PIPESTATUS[0]}", unbuffered)
    assert done.stderr == ""
    assert done.stdout.strip() in {"0", "141"}  # ``ser`` ends well, as before; what is cheap may have been written already


@pytest.mark.parametrize("to", ["> /dev/null", "| cat"])
@pytest.mark.parametrize(
    "call",
    [
        "from ser.runtime.output import printed\nwith printed(0): raise BrokenPipeError(32, 'Broken pipe')",
        "import argparse, params_stage\nfrom stages import command\ncommand.run(argparse.ArgumentParser(), params_stage.stage)",
    ],
    ids=["printed", "a stage"],
)
def test_a_broken_pipe_of_another_kind_is_not_passed_over(project: Path, tmp_path: Path, call: str, to: str) -> None:
    """A worker that has died, say, or a connection: nothing was done, so the end must not look like one of ``… | head``."""
    (tmp_path / "params_stage.py").write_text("def stage(params, options): raise BrokenPipeError(32, 'Broken pipe')\n")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    line = f"set -o pipefail; {sys.executable} -c {shlex.quote(f'import stages; {call}' if 'params' in call else call)} {to}"
    done = subprocess.run(["bash", "-c", line], cwd=project, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "Broken pipe" in done.stderr


@pytest.mark.parametrize("command", QUICK)
def test_a_closed_output_is_no_error(project: Path, command: str) -> None:
    done = ran(command, project, ">&-", "")
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception" not in done.stderr, done.stderr


@pytest.mark.parametrize("closing", ["2>&-", "0<&- 1>&- 2>&-"])
def test_a_stage_without_any_streams_runs_as_ever(project: Path, tmp_path: Path, closing: str) -> None:
    """As a daemon or cron may start it: a bar has nowhere to go, and files take no number of a stream."""
    (tmp_path / "bar_stage.py").write_text(
        "import os, sys\nfrom pathlib import Path\nfrom tqdm import tqdm\n"
        "def stage(params, options):\n"
        "    for _ in tqdm(range(3)): print('said', file=sys.stderr)\n"
        "    sys.stderr.isatty()\n"
        f"    Path({str(tmp_path / 'done')!r}).write_text(str(os.open(os.devnull, os.O_RDONLY) > 2))\n"
    )
    call = "import stages, argparse, bar_stage\nfrom stages import command\ncommand.run(argparse.ArgumentParser(), bar_stage.stage)"
    line = f"{sys.executable} -c {shlex.quote(call)} {closing}"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    assert subprocess.run(["bash", "-c", line], cwd=project, env=environment, timeout=300).returncode == 0
    assert (tmp_path / "done").read_text() == "True"
