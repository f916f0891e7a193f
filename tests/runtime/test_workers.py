from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.util import get_temp_dir
from pathlib import Path

import pytest

from ser import SerError
from ser.params import load
from ser.params.runtime import Runtime
from ser.runtime.workers import AHEAD, _leave, _take, spread
from tests import tasks

ROOT = Path(__file__).parents[2]
RUNTIME = load(ROOT / "params.yaml").runtime
needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="distributed, an optional package, is not installed"
)


def local(workers: int) -> Runtime:
    return RUNTIME.model_copy(update={"workers": workers})


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SER_WORKERS", raising=False)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Runtime]:
    """A Dask scheduler and two workers of one thread, each a process of its own; a nanny starts a worker again that dies."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "null"}
    address_file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"], [sys.executable, "-m", "distributed.cli.dask_worker"]
    options = ["--scheduler-file", str(address_file)]
    scheduler = [*dask[0], *options, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    workers = [*dask[1], *options, "--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]
    with contextlib.ExitStack() as stack:
        for command in (scheduler, workers):
            started = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(started.wait, 300)
            stack.callback(started.terminate)
        from distributed import Client

        deadline = time.monotonic() + 1200
        while not address_file.exists():
            assert time.monotonic() < deadline, "no scheduler"
            time.sleep(0.05)
        with Client(scheduler_file=str(address_file)) as client:
            client.wait_for_workers(2, timeout=300)
            address = client.scheduler.address
        yield RUNTIME.model_copy(update={"scheduler": address})


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 30])
def test_results_come_in_the_order_of_the_tasks(workers, count):
    assert list(spread(tasks.square, range(count), local(workers))) == [number**2 for number in range(count)]


def test_one_worker_is_this_process_and_two_are_others():
    assert set(spread(tasks.process_of, range(20), local(1))) == {os.getpid()}
    others = set(spread(tasks.process_of, range(20), local(2)))
    assert os.getpid() not in others
    assert 1 <= len(others) <= 2


def test_the_environment_wins(monkeypatch):
    monkeypatch.setenv("SER_WORKERS", "1")
    assert set(spread(tasks.process_of, range(3), local(2))) == {os.getpid()}


def results_on_disk() -> list[Path]:
    """Files of the results that workers have left for this process; the folder itself holds a socket too."""
    return [path for path in Path(get_temp_dir()).rglob("*") if not path.is_socket()]


def test_arrays_come_back_from_other_processes_as_they_were_and_leave_no_file_behind() -> None:
    expected = [tasks.arrays(number) for number in range(23)]
    for found, made in zip(spread(tasks.arrays, range(23), local(2)), expected, strict=True):
        assert repr(found) == repr(made)
        for array in (found[1]["grid"], found[2]):
            array += 1  # one's own to change, as if it had come by value
        assert 1 <= len(results_on_disk()) <= 1 + 2 * AHEAD
    assert results_on_disk() == []


def test_results_nobody_fetched_leave_no_file_behind() -> None:
    results = spread(tasks.arrays, range(50), local(2))
    next(results)
    assert results_on_disk()
    results.close()
    assert results_on_disk() == []


def test_a_full_disk_is_said_plainly(tmp_path):
    with pytest.raises(
        SerError, match=r"cannot write 0\.1 MB to .*gone.0: No such file or directory; free some space, or set TMPDIR elsewhere"
    ):
        _leave(tasks.arrays, (str(tmp_path / "gone" / "0"), 32_000))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EROFS, errno.ENOSPC], ids=["no /dev/shm", "read-only", "full"])
def test_without_semaphores_the_message_says_what_is_missing(monkeypatch, number):
    """The system's error names no file, and a stage would have named its output."""

    def refused(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("ser.runtime.workers.ProcessPoolExecutor", refused)
    with pytest.raises(SerError, match=rf"cannot be started: {os.strerror(number)}; they need /dev/shm.*SER_WORKERS=1"):
        list(spread(tasks.square, range(3), local(2)))


@pytest.mark.parametrize("kept", [0, 1, 30_000])
def test_a_file_that_was_cut_short_is_no_result(tmp_path, kept):
    left = _leave(tasks.arrays, (str(tmp_path / "0"), 32_000))
    os.truncate(left.path, kept)
    with pytest.raises(SerError, match=rf"{kept} of {sum(left.sizes)} bytes .*TMPDIR"):
        _take(left)


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_are_taken_up_only_as_results_are_fetched(workers):
    taken = []
    results = spread(tasks.square, (taken.append(i) or i for i in range(100)), local(workers))
    for number in range(10):
        assert next(results) == number**2
        assert len(taken) <= number + AHEAD * workers
    results.close()
    assert len(taken) < 20


@pytest.mark.parametrize("workers", [1, 2])
def test_numerical_libraries_run_on_one_thread(workers):
    assert list(spread(tasks.threads_of_blas, range(4), local(workers))) == [{1}] * 4


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_at_the_place_of_its_task(workers):
    results = spread(tasks.fail_at_seven, range(20), local(workers))
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(SerError, match="seven cannot be done"):
        next(results)


def test_a_process_that_dies_is_said_plainly():
    with pytest.raises(SerError, match=r"a worker process died.*SER_WORKERS=1"):
        list(spread(tasks.die, range(4), local(2)))


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """The path of a socket has at most 107 characters, and pytest's folders have long names."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the states of processes are read from /proc, which is not here")
def test_workers_end_and_leave_nothing_when_their_parent_is_killed(short_folder):
    code = (
        "from ser.runtime.workers import spread; from tests import tasks; from tests.runtime.test_workers import local\n"
        "for process in spread(tasks.process_of, range(10**6), local(2)): print(process, flush=True)"
    )
    environment = os.environ | {"TMPDIR": str(short_folder)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        seen = {int(parent.stdout.readline()) for _ in range(200)}
        assert list(short_folder.glob("pymp-*/tmp*"))
        parent.kill()
    deadline = time.monotonic() + 120
    while any(map(runs, seen)) or list(short_folder.iterdir()):
        assert time.monotonic() < deadline, f"still there: {[one for one in seen if runs(one)]}, {list(short_folder.iterdir())}"
        time.sleep(0.05)


def test_nothing_is_left_by_a_parent_that_is_killed_before_a_worker_has_begun(short_folder, tmp_path):
    (tmp_path / "slow.py").write_text(
        "import time\nfrom pathlib import Path\nPath('begun').touch(); time.sleep(1)\ndef double(n): return 2 * n\n"
    )
    code = (
        "import sys, types; from ser.runtime import workers; from tests.runtime.test_workers import local\n"
        "slow = types.ModuleType('slow'); sys.modules['slow'] = slow\n"
        "def double(number): ...\n"
        "double.__module__ = 'slow'; slow.double = double\n"
        "workers.start_early(double, local(2))\n"
        "import time; time.sleep(60)\n"
    )
    environment = os.environ | {"TMPDIR": str(short_folder), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as parent:
        deadline = time.monotonic() + 120
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert list(short_folder.iterdir())
        parent.kill()
    while list(short_folder.iterdir()):
        assert time.monotonic() < deadline, list(short_folder.iterdir())
        time.sleep(0.05)


def runs(process: int) -> bool:
    """False once it has ended, even if nobody has asked for its exit status yet."""
    try:
        return Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_stage_run_as_a_module_gives_no_warning():
    command = [sys.executable, "-m", "tests.tasks"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"SER_WORKERS": "2"}, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[0, 1, 4]\n", "")


def test_workers_import_neither_torch_nor_the_pictures():
    code = (
        "from ser.runtime.workers import spread; from ser.params import load; from tests import tasks; import sys;"
        "print(*[m for m in ('torch', 'librosa', 'numba', 'matplotlib', 'distributed') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split() == []


def test_without_dask_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SerError, match="pip install 'distributed"):
        list(spread(tasks.square, range(3), RUNTIME.model_copy(update={"scheduler": "tcp://127.0.0.1:8786"})))


@needs_dask
@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_said_plainly():
    with pytest.raises(SerError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(spread(tasks.square, range(3), RUNTIME.model_copy(update={"scheduler": "tcp://127.0.0.1:9"})))


@needs_dask
@pytest.mark.parametrize(
    ("what", "signal_", "says"),
    [
        ("dask_scheduler", signal.SIGKILL, "has gone or does not answer; start it again"),
        ("dask_scheduler", signal.SIGSTOP, "has gone or does not answer; start it again"),
        ("dask_worker", signal.SIGKILL, "has had no worker for"),
    ],
)
def test_a_cluster_that_is_lost_is_one_message(tmp_path, what, signal_, says):
    """Through a program of its own, because Dask's threads speak after the error."""
    script = """
import sys
from pathlib import Path
from ser import SerError
from ser.params import load
from ser.runtime import cluster, workers
from tests import tasks
cluster.PATIENCE = workers.LOOKS_EVERY = 1.0
runtime = load(Path("params.yaml")).runtime.model_copy(update={"scheduler": sys.argv[1]})
try:
    for number in workers.spread(tasks.slow, range(1000), runtime):
        print(number, flush=True)
except SerError as error:
    sys.exit(f"error: {error}")
"""
    with cluster(tmp_path) as runtime:
        command = [sys.executable, "-c", script, str(runtime.scheduler)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == "0\n"
            lost = [process for process in of_cluster(tmp_path) if what in command_line(process)]
            for process in lost:
                os.kill(process, signal_)
            try:
                _, said = running.communicate(timeout=120)
            finally:
                running.kill()
                for process in lost if signal_ == signal.SIGSTOP else []:
                    os.kill(process, signal.SIGCONT)
        assert running.returncode == 1
        assert says in said
        assert "Traceback" not in said


def of_cluster(folder: Path) -> list[int]:
    """Processes of the cluster in this folder, nannies first, so that none starts a worker again."""
    return sorted(
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal() and str(folder) in command_line(int(entry.name))
    )


def command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


@needs_dask
def test_an_address_that_dask_cannot_use_is_one_message():
    with pytest.raises(SerError, match=r"no Dask scheduler answers at tls://127\.0\.0\.1:9"):
        list(spread(tasks.square, range(3), RUNTIME.model_copy(update={"scheduler": "tls://127.0.0.1:9"})))


@needs_dask
def test_dask_gives_the_same_results_though_a_worker_dies_half_way(tmp_path):
    with cluster(tmp_path) as runtime:
        assert list(spread(tasks.square, range(30), runtime)) == [number**2 for number in range(30)]
        assert os.getpid() not in set(spread(tasks.process_of, range(20), runtime))
        mark = tmp_path / "died"
        assert list(spread(tasks.die_once, [(number, str(mark)) for number in range(40)], runtime)) == list(range(40))
        assert mark.exists()
        with pytest.raises(SerError, match="seven cannot be done"):
            list(spread(tasks.fail_at_seven, range(20), runtime))


@pytest.mark.parametrize("starts", ["workers", "trainings"])
def test_ctrl_c_while_processes_of_ours_begin_is_the_parents_alone(tmp_path, starts):
    """A terminal sends it to the whole group. Those that still import modules would say so in a traceback."""
    (tmp_path / "slow.py").write_text(
        "import time\nfrom pathlib import Path\n"
        "if __name__ != '__main__':\n    Path('begun').touch(); time.sleep(2)\n"
        "def double(number): return 2 * number\n"
    )
    begin = {
        "workers": "list(workers.spread(slow.double, range(4), local(2)))",
        "trainings": (
            "from multiprocessing import get_context; from concurrent.futures import ProcessPoolExecutor\n"
            "pool = ProcessPoolExecutor(2, get_context('spawn'), signals.ignore_interrupts)\n"
            "with signals.deaf_children(): made = pool.submit(slow.double, 2)\n"
            "made.result()"
        ),
    }[starts]
    code = (
        "import importlib.util, sys, types\n"
        "from ser.runtime import signals, workers; from tests.runtime.test_workers import local\n"
        "slow = types.ModuleType('slow'); sys.modules['slow'] = slow\n"  # not imported here: only by those that begin
        "def double(number): ...\n"
        "double.__module__ = 'slow'; slow.double = double\n"
        f"try:\n    {begin.replace(chr(10), chr(10) + '    ')}\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as parent:
        deadline = time.monotonic() + 120
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            assert parent.poll() is None
            time.sleep(0.02)
        os.killpg(parent.pid, signal.SIGINT)
        _, said = parent.communicate(timeout=120)
    assert (parent.returncode, said) == (130, "")
