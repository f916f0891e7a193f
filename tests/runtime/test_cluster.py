"""Workers of a Dask cluster that would give other bytes are refused; those that die, or are slow, change nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ser import SerError, __version__
from ser.params import load
from ser.runtime import cluster, kernels
from ser.runtime.workers import spread
from tests import tasks
from tests.runtime.test_workers import RUNTIME, needs_dask

ROOT = Path(__file__).parents[2]
HERE = cluster.side()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"version": "0.1.0"}, f"has ser 0.1.0, and this process {__version__}: check out the same commit"),
        ({"code": "0" * 16}, r"has other code in ser .* \(0{16}\) than this process"),
        ({"libraries": HERE.libraries | {"numpy": "1.0"}}, "has numpy 1.0, and this process 2.*install the same there"),
        ({"libraries": {}}, None),
        ({"libraries": HERE.libraries | {"torch": HERE.libraries["torch"], "another": "1"}}, None),
        ({"kernels": {"MKL_CBWR": "made"}}, "uses other kernels.*start it with: env .* dask worker"),
    ],
)
def test_what_makes_a_worker_another(change: dict[str, Any], said: str | None) -> None:
    there = dataclasses.replace(HERE, **change)
    assert (said is None) == (HERE.difference(there) is None)
    if said is not None:
        assert re.search(said, str(HERE.difference(there)))


def test_a_task_runs_only_where_it_gives_the_same_bytes() -> None:
    assert cluster.run_there(cluster.side(), tasks.square, 3) == 9
    with pytest.raises(SerError, match="start it with: env MKL_CBWR='made' dask worker"):
        cluster.run_there(dataclasses.replace(cluster.side(), kernels={"MKL_CBWR": "made"}), tasks.square, 3)


def test_a_worker_that_has_no_ser_is_named() -> None:
    with pytest.raises(SerError, match=r"the Dask worker tcp://b has no ser, or a very different one"):
        cluster._check({"tcp://a": HERE, "tcp://b": ModuleNotFoundError("No module named 'ser'")})


def test_the_hash_of_the_code_sees_every_module(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    hashes = [cluster._code(tmp_path)]
    for path, text in (("a.py", ""), ("room/b.py", "1"), ("room/b.py", "2"), ("room/c.py", "2")):
        (tmp_path / path).write_text(text)
        hashes.append(cluster._code(tmp_path))
    (tmp_path / "room/notes.txt").write_text("no code")
    assert len(set(hashes)) == 5
    assert cluster._code(tmp_path) == hashes[-1]


class Machines:
    """A scheduler, and workers that one can start, slow down and kill, each a process of one thread without a nanny."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self._file = folder / "scheduler.json"
        self._start("scheduler", ROOT, "--host", "127.0.0.1", "--port", "0")
        end = time.monotonic() + 300
        while not self._file.exists():
            assert time.monotonic() < end, "no scheduler"
            time.sleep(0.05)
        from distributed import Client

        self.client = stack.enter_context(Client(scheduler_file=str(self._file)))

    def worker(self, code: Path = ROOT) -> subprocess.Popen[bytes]:
        """Start a worker that has ``ser`` from this folder, and wait until it has joined."""
        before = len(self.client.scheduler_info()["workers"])
        place = self.folder / f"worker{time.monotonic_ns()}"
        options = ["--no-nanny", "--nthreads", "1", "--local-directory", str(place)]
        started = self._start("worker", code, *options)
        self.client.wait_for_workers(before + 1, timeout=300)
        return started

    def _start(self, what: str, code: Path, *options: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(code), "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "null"} | kernels.environment()
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", str(self._file), "--no-dashboard", *options]
        # Not in the folder of the code: what lies in the working directory would be imported first.
        started = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._stack.callback(started.wait, 300)
        self._stack.callback(started.kill)
        return started


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with contextlib.ExitStack() as stack:
        yield Machines(tmp_path, stack)


@contextlib.contextmanager
def slowed(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The process stands still for nine tenths of the time."""
    ended = threading.Event()

    def hold() -> None:
        while not ended.is_set():
            process.send_signal(signal.SIGSTOP)
            ended.wait(0.18)
            process.send_signal(signal.SIGCONT)
            ended.wait(0.02)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        yield
    finally:
        ended.set()
        holder.join()
        process.send_signal(signal.SIGCONT)


@needs_dask
@pytest.mark.slow
def test_one_killed_one_slow_and_one_of_another_version_give_the_same_bytes_or_words(tmp_path: Path, machines: Machines) -> None:
    """The archive of the demo is preprocessed here and by three workers; then a fourth joins that has another ``ser``."""
    from ser.corpora import demo
    from ser.corpora.archives import open_archive
    from ser.signal.preprocessing import Chunk, prepare_chunk

    params = load(ROOT / "params.yaml")
    archive = tmp_path / "demo.zip"
    demo.write_archive(archive, params.corpora["demo"].source.model_copy(update={"speakers": 4, "sentences": 2}))
    status = archive.stat()
    with open_archive(archive) as opened:
        members = [member.name for member in opened.members() if member.name.endswith(".flac")]
    chunks = [Chunk(archive, (status.st_size, status.st_mtime_ns), (member,), params.preprocess) for member in members]
    here = [tasks.bytes_of(one) for one in spread(prepare_chunk, chunks, RUNTIME.model_copy(update={"workers": 1}))]
    assert len(here) == len(chunks) > 30

    slow, dying, _ = (machines.worker() for _ in range(3))
    there = RUNTIME.model_copy(update={"scheduler": machines.client.scheduler.address})
    found = []
    with slowed(slow):
        for number, one in enumerate(spread(prepare_chunk, chunks, there)):
            found.append(tasks.bytes_of(one))
            if number == len(chunks) // 3:
                dying.kill()
    assert dying.wait(300) == -signal.SIGKILL
    assert found == here

    shutil.copytree(ROOT / "ser", tmp_path / "other/ser", ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "other/ser/signal/vad.py", "a") as stream:
        stream.write("# of another day\n")
    other = machines.worker(tmp_path / "other")
    with pytest.raises(SerError, match=r"the Dask worker tcp://127\.0\.0\.1:\d+ has other code in ser .*check out the same commit there"):
        list(spread(prepare_chunk, chunks, there))
    other.kill()


@needs_dask
@pytest.mark.slow
def test_a_worker_of_another_version_that_joins_in_mid_run_ends_it_in_words(tmp_path: Path, machines: Machines) -> None:
    shutil.copytree(ROOT / "ser", tmp_path / "other/ser", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", tmp_path / "other/tests", ignore=shutil.ignore_patterns("__pycache__"))
    head = tmp_path / "other/ser/__init__.py"
    head.write_text(head.read_text().replace(f'"{__version__}"', '"0.0.1"'))
    machines.worker()
    there = RUNTIME.model_copy(update={"scheduler": machines.client.scheduler.address})
    results = spread(tasks.square, range(3000), there)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    machines.worker(tmp_path / "other")
    with pytest.raises(SerError, match=rf"a Dask worker has ser 0\.0\.1, and this process {__version__}: check out the same commit"):
        for _ in results:
            pass


@needs_dask
@pytest.mark.slow
def test_a_task_that_kills_every_worker_ends_in_words(machines: Machines) -> None:
    for _ in range(5):
        machines.worker()
    there = RUNTIME.model_copy(update={"scheduler": machines.client.scheduler.address})
    with pytest.raises(SerError, match=r"a task ended one Dask worker after the other.*runtime\.scheduler: null"):
        list(spread(tasks.die, range(1), there))
