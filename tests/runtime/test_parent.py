"""A stage ends with the DVC that started it, through a shell that stays or not, and with nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGE = f"""
import signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from ser.runtime.parent import end_with_dvc
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
try:
    end_with_dvc()
    print("stage", flush=True)
    time.sleep(120)
finally:
    open("cleared", "w").close()
"""
DVC = """
import os, signal, subprocess, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a parent that ignores it, such as nohup, is none of the test's
shell, line = sys.argv[1:]
subprocess.run([shell, "-c", line], env=dict(os.environ, DVC_STAGE="train@demo"))
"""
"""Runs a command as DVC does: by a shell, with the stage's name in the environment."""
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc to see a shell's parent in")


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def ends(process: int, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while lives(process) and time.monotonic() < until:
        time.sleep(0.05)
    return not lives(process)


def started(command: list[str], folder: Path, **environment: str) -> tuple[subprocess.Popen[str], int]:
    """A command, once the stage in it speaks; and the number of the stage's process."""
    running = subprocess.Popen(command, cwd=folder, env=os.environ | environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "stage\n"
    script = str(folder / "stage.py").encode()
    processes = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    (stage,) = [process for process in processes if (words := command_line(process))[-1:] == [script] and b"-c" not in words]
    return running, stage


def command_line(process: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc.py").write_text(DVC)
    return tmp_path


def of_dvc(folder: Path, shell: str, stays: bool) -> list[str]:
    line = f"'{sys.executable}' '{folder / 'stage.py'}'"
    return [sys.executable, str(folder / "dvc.py"), shell, f"{line}; exit $?" if stays else f"exec {line}"]


@needs_proc
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
def test_a_stage_ends_with_its_dvc_and_clears_up(folder: Path, shell: str, stays: bool, kind: signal.Signals) -> None:
    if not (found := shutil.which(shell)):
        pytest.skip(f"no {shell} here")
    running, stage = started(of_dvc(folder, found, stays), folder)
    running.send_signal(kind)
    assert running.wait(20) == -kind
    try:
        assert ends(stage)
        assert (folder / "cleared").exists()
    finally:
        if lives(stage):
            os.kill(stage, signal.SIGKILL)


@needs_proc
@pytest.mark.parametrize("stays", [False, True])
def test_a_stage_goes_on_when_what_started_dvc_has_ended(folder: Path, stays: bool) -> None:
    """As with `nohup dvc repro &` in a terminal that is closed."""
    words = of_dvc(folder, "/bin/sh", stays)
    terminal = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    running, stage = started([sys.executable, "-c", terminal, *words], folder)
    running.kill()
    running.wait()
    try:
        assert not ends(stage, 2)
    finally:
        os.kill(stage, signal.SIGKILL)


@needs_proc
def test_a_stage_without_dvc_goes_on_without_its_parent(folder: Path) -> None:
    parent = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    command = [sys.executable, "-c", parent, sys.executable, str(folder / "stage.py")]
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    running = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "stage\n"
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    running.kill()
    running.wait()
    try:
        assert not ends(int(children[0]), 2)
    finally:
        os.kill(int(children[0]), signal.SIGKILL)


def may_adopt() -> bool:
    """Whether who adopts orphans here can be told from DVC, which is a Python program."""
    return not any(b"python" in word or b"dvc" in word for word in command_line(1))


@needs_proc
@pytest.mark.skipif(not may_adopt(), reason="the first process of this system may be DVC")
@pytest.mark.parametrize("stays", [False, True])
def test_a_stage_that_begins_after_its_dvc_has_ended_ends(folder: Path, stays: bool) -> None:
    """Killed while the stage's interpreter starts and reads its modules."""
    script, begun = folder / "stage.py", folder / "begun"
    line = f"'{sys.executable}' '{script}'"
    words = f": > '{begun}'; sleep 1.5; " + (f"{line}; exit $?" if stays else f"exec {line}")
    with subprocess.Popen([sys.executable, str(folder / "dvc.py"), "/bin/sh", words], cwd=folder, start_new_session=True) as running:
        until = time.monotonic() + 20
        while not begun.exists() and time.monotonic() < until:
            time.sleep(0.02)
        running.kill()
    while not (folder / "cleared").exists() and time.monotonic() < until:
        time.sleep(0.05)
    try:
        assert (folder / "cleared").exists()
    finally:
        for process in [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]:
            if command_line(process)[-1:] == [str(script).encode()]:
                os.kill(process, signal.SIGKILL)
