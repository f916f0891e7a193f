"""Folds side by side: the same bytes as one after the other, errors at once, and no worker outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest
import torch

from ser import SerError
from ser.runtime.machine import cause_of_death
from ser.training import jobs
from tests import made
from tests.dependencies import tracked_by
from tests.training.test_batches import write


def planned(folder: Path, folds: tuple[int, ...] = (1, 2, 3), empty: int | None = None, **changes: object) -> list[jobs.Job]:
    """The made corpus on disk, a fold per speaker; ``empty`` has no validation clips."""
    params = made.params(train__epochs=2, **changes)
    (folder / "clips").mkdir(parents=True)
    write(folder / "clips", made.corpus(params))
    table = made.table()
    table.to_csv(folder / "clips/clips.csv", index=False)
    rows = [
        {"clip": clip, "fold": fold, "part": "test" if speaker == fold else "valid" if speaker == 0 and fold != empty else "train"}
        for fold in folds
        for clip, speaker in zip(table["clip"], range(24), strict=True)
        for speaker in [speaker % 4]
    ]
    pd.DataFrame(rows).to_csv(folder / "folds.csv", index=False)
    about = made.trained(params)
    return [
        jobs.Job(folder / "clips", folder / "clips", folder / "folds.csv", about, fold, 0, folder / f"check{fold}", folder / f"fold{fold}")
        for fold in folds
    ]


def runtime(workers: int):
    return made.params(runtime__workers=workers, runtime__device="cpu").runtime


def test_side_by_side_gives_the_same_bytes_as_one_after_the_other(tmp_path, monkeypatch):
    for name in ("SER_WORKERS", "SER_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    found = {}
    for workers in (1, 2):
        history = jobs.train(planned(tmp_path / str(workers)), runtime(workers), tmp_path / "log")
        found[workers] = [history, *((tmp_path / str(workers) / f"fold{fold}").read_bytes() for fold in (1, 2, 3))]
    assert found[1] == found[2]
    assert [(row["fold"], row["epoch"]) for row in found[1][0]] == [(fold, epoch) for fold in (1, 2, 3) for epoch in (1, 2)]


def test_more_processes_than_devices_are_refused(monkeypatch):
    for name, value in {"WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3", "RANK": "0", "MASTER_ADDR": "here", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(SerError, match="torchrun started 3 processes on this machine, and cuda has 2"):
        jobs.together(6, torch.device("cuda"), runtime(1))
    with pytest.raises(SerError, match="mps has 1"):
        jobs.together(6, torch.device("mps"), runtime(1))
    assert jobs.together(6, torch.device("cpu"), runtime(1)) == 6
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert jobs.together(6, torch.device("cuda"), runtime(1)) == 6


def test_a_checkpoint_depends_on_all_code_that_training_runs():
    """All code that the train stage lists in dvc.yaml."""
    needed = {path for path in tracked_by("stages/train.py") if path.startswith("ser/")}
    files = {path.relative_to(made.ROOT).as_posix() for part in jobs.code() for path in ([part] if part.is_file() else part.rglob("*"))}
    files |= {part.relative_to(made.ROOT).as_posix() for part in jobs.code()}
    assert needed <= files


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_a_fold_is_said(tmp_path, monkeypatch, workers):
    monkeypatch.delenv("SER_WORKERS", raising=False)
    with pytest.raises(SerError, match=r"fold 2 in .*0 validation clips"):
        jobs.train(planned(tmp_path, empty=2), runtime(workers), tmp_path / "log")


@pytest.mark.parametrize(
    ("number", "says"), [(signal.SIGKILL, "probably killed by the out-of-memory killer"), (signal.SIGUSR1, "ended by SIGUSR1")]
)
def test_a_death_is_said_with_its_cause(number, says):
    pool = ProcessPoolExecutor(1, get_context("spawn"))
    done = pool.submit(signal.raise_signal, number)
    children = list(pool._processes.values())
    with pytest.raises(BrokenProcessPool):
        done.result()
    children[0].join()
    assert says in cause_of_death(children)


def test_a_worker_leaves_ctrl_c_to_its_parent():
    """A parent in the background ignores it, and would take its workers for killed if they ended."""
    with ProcessPoolExecutor(1, get_context("spawn"), jobs._begin, (None, None)) as pool:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() is signal.SIG_IGN


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the children of a process are read from /proc, which is not here")
@pytest.mark.parametrize("when", ["they train", pytest.param("they begin", marks=pytest.mark.slow)])
def test_no_worker_outlives_its_killed_parent(tmp_path, when):
    script = textwrap.dedent("""
        import sys, pathlib
        from ser.training import jobs
        from tests import made
        from tests.training.test_jobs import planned, runtime
        if __name__ == "__main__":
            made_params, keep = made.params, {"train__epochs": 10_000}
            made.params = lambda **changes: made_params(**{**changes, **keep})
            jobs.train(planned(pathlib.Path(sys.argv[1]), folds=(1, 2)), runtime(2), pathlib.Path(sys.argv[2]))
    """)
    (tmp_path / "run.py").write_text(script)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(made.ROOT), "SER_WORKERS": "2", "PYTHONUNBUFFERED": "1", "TMPDIR": str(temporary)}
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, tmp_path / "run.py", tmp_path / "made", log], env=environment, cwd=made.ROOT) as parent:
        while when == "they train" and not (log.exists() and " epoch " in log.read_text()):
            assert parent.poll() is None
            time.sleep(0.05)
        while len(trainers := _trainers(parent.pid)) < 2:
            assert parent.poll() is None
            time.sleep(0.01)
        os.kill(parent.pid, signal.SIGKILL)
    for _ in range(1800):
        if not any(_training(number) for number in trainers):
            break
        time.sleep(0.1)
    assert not any(_training(number) for number in trainers)
    assert list(temporary.glob("tmp*")) == []


def _trainers(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(number) for number in children if _training(int(number))]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:  # it has ended, perhaps just now
        return ""


def _training(pid: int) -> bool:
    return "spawn_main" in _command(pid)
