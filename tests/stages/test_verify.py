"""``make verify``: the last commit is run again, and the first difference is named."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import save

from ser import SerError
from stages import verify
from stages.differing import difference
from tests.pipeline import ROOT

MAKE = """
import os, pathlib, sys
import numpy as np
stage, name = sys.argv[1:]
folder = pathlib.Path(stage, name)
folder.mkdir(parents=True, exist_ok=True)
values = np.arange(1000, dtype=np.float32)
if os.environ.get("PLANTED") == stage:
    values[[3, 5]] += np.float32(0.25)
np.save(folder / "a.npy", np.arange(4))
np.save(folder / "b.npy", values)
"""
PIPELINE = """
stages:
  features:
    matrix: {dataset: '${datasets}'}
    cmd: python make.py features '${item.dataset}'
    deps: [make.py]
    outs: ['features/${item.dataset}']
  evaluate:
    matrix: {dataset: '${datasets}'}
    cmd: python make.py evaluate '${item.dataset}'
    deps: [make.py, 'features/${item.dataset}']
    outs: ['evaluate/${item.dataset}']
  export:
    matrix: {dataset: '${datasets}'}
    cmd: python make.py export '${item.dataset}'
    deps: ['evaluate/${item.dataset}']
    outs: ['export/${item.dataset}']
"""


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the project's parameters, metrics of the demo and a pipeline of three made stages, run and committed."""
    folder = tmp_path_factory.mktemp("verify") / "here"
    (folder / "metrics/corpora").mkdir(parents=True)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "make.py").write_text(MAKE)
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    published = json.loads((ROOT / "metrics/corpora/demo.json").read_text())
    known = {"ua": 0.8056, "ua_low": 0.7292, "ua_high": 0.8819, "ci": published["ci"] | {"ua": [0.7292, 0.8819]}}  # whatever is published
    (folder / "metrics/corpora/demo.json").write_text(json.dumps(published | known))
    for command in (
        ["git", "init", "-q", "-b", "main"],
        ["dvc", "init", "-q"],
        ["dvc", "repro", "-q"],
        ["git", "add", "-A"],
        ["git", "-c", "user.email=a@example.org", "-c", "user.name=A", "commit", "-qm", "results"],
    ):
        subprocess.run(command, cwd=folder, env=environment(folder), check=True, capture_output=True)
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder.parent / "site")}
    return {**plain, **own, "GIT_CONFIG_GLOBAL": os.devnull, **more}


def verified(folder: Path, *names: str, **more: str) -> tuple[int, str]:
    """Exit status of the command, and what it says in the end."""
    words = [sys.executable, "-m", "stages.verify", *names]
    done = subprocess.run(words, cwd=folder, env=environment(folder, **more), capture_output=True, text=True, timeout=600)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_an_undisturbed_run_has_the_same_bytes_and_leaves_no_trace(committed):
    code, said = verified(committed)
    assert code == 0, said
    assert "demo: same bytes\n" in said
    assert subprocess.run(["git", "status", "--porcelain"], cwd=committed, capture_output=True, text=True).stdout == ""


def test_a_planted_difference_is_found_and_its_stage_and_file_are_named(committed, monkeypatch):
    """The clone has no metrics of its own here, so that the score is the committed one."""
    code, said = verified(committed, "demo", PLANTED="evaluate")
    assert code == 1, said
    assert (
        "demo: the first difference is in stage evaluate@demo, evaluate/demo/b.npy: 2 of 1,000 values differ, by at most 0.25\n"
        "demo: UA 80.6 here, 80.6 [72.9, 88.2] committed: within the committed interval\n" in said
    )
    assert "error: demo: not what the last commit says" in said


def test_the_folder_is_named_where_the_committed_files_are_not_here(committed, tmp_path):
    clone = tmp_path / "here"
    subprocess.run(["git", "clone", "-q", str(committed), str(clone)], check=True)
    code, said = verified(clone, PLANTED="features")
    assert code == 1, said
    assert "the first difference is in stage features@demo, features/demo: md5 " in said
    assert "`dvc pull features@demo` may bring the committed files" in said


@pytest.mark.parametrize(("name", "message"), [("nix", "nix is not a corpus"), ("shemo", "does not know shemo")])
def test_a_corpus_that_cannot_be_verified_is_named(committed, name, message):
    code, said = verified(committed, name)
    assert code == 1, said
    assert message in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the last commit holds no params.yaml"),
        ("[[[", "params.yaml of the last commit is not valid YAML"),
        ("5", "params.yaml of the last commit is no mapping"),
    ],
)
def test_a_commit_without_parameters_is_one_message(committed, tmp_path, content, message):
    clone = tmp_path / "here"
    subprocess.run(["git", "clone", "-q", str(committed), str(clone)], check=True)
    values = (clone / "params.yaml").read_text()
    (clone / "params.yaml").unlink() if content is None else (clone / "params.yaml").write_text(content)
    subprocess.run(["git", "-c", "user.email=a@example.org", "-c", "user.name=A", "commit", "-qam", "worse"], cwd=clone, check=True)
    (clone / "params.yaml").write_text(values)
    code, said = verified(clone)
    assert code == 1, said
    assert message in said


@pytest.mark.parametrize(
    "content", ["", "[", "stages: 5", "stages: {a: 5}", "stages: {a: {outs: 5}}", "stages: {a: {outs: [{path: x}]}}", "a: " + "[" * 5000]
)
def test_a_damaged_lock_is_one_message(committed, monkeypatch, content):
    monkeypatch.chdir(committed)
    monkeypatch.setattr(verify.changes, "committed", lambda path: content.encode())
    with pytest.raises(SerError, match=r"dvc.lock of the last commit is damaged \("):
        verify.agrees("demo", committed, compare_bytes=True)


AS_AT_A_TERMINAL = """
import os, signal, subprocess, sys
from pathlib import Path
from stages import verify
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
verify.ends_in_order()
"""
DO = "verify.do(['sh', '-c', 'sleep 300 & echo $!; wait'], Path('.'), 'failed')"
STRUCK = """
start = subprocess.Popen._execute_child
def struck(*arguments):
    start(*arguments)
    os.kill(os.getpid(), int(sys.argv[1]))
subprocess.Popen._execute_child = struck
"""


@pytest.mark.parametrize("at_start", [False, True], ids=["later", "at-start"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_it_runs_ends_with_it(number, at_start):
    """The pipeline's stages, too, before the folder in which they work is removed; also when the signal comes while they start."""
    code = "\n".join([AS_AT_A_TERMINAL, STRUCK if at_start else "", DO])
    words = [sys.executable, "-c", code, str(int(number))]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        said = child.stdout.readline()  # nothing where it was ended before it could speak
        if not at_start:
            child.send_signal(number)
        assert child.wait(30) != 0
    assert not said or is_over(int(said))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process that its parent has ended")
def test_what_it_runs_ends_when_it_is_killed():
    code = f"{AS_AT_A_TERMINAL}\nverify.do(['sh', '-c', 'echo $$; exec sleep 300'], Path('.'), 'failed')"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        number = int(child.stdout.readline())
        child.kill()
        child.wait(30)
        until = time.monotonic() + 10
        while not (over := is_over(number)) and time.monotonic() < until:
            time.sleep(0.05)
        if not over:
            os.kill(number, signal.SIGKILL)  # it holds the pipe
    assert over


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_a_living_one_has_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, foreign, empty = (tmp_path / name for name in ("ser-verify-killed", "ser-verify-foreign", "other-verify-killed"))
    for folder in (killed, foreign, empty):
        (folder / "copy").mkdir(parents=True)
    for folder in (killed, empty):
        (folder / "run.lock").touch()
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "copy").mkdir(parents=True)
    (elsewhere / "run.lock").touch()
    (tmp_path / "ser-verify-link").symlink_to(elsewhere)
    with verify.own_folder() as living, verify.own_folder() as second:
        assert living.exists()
        assert second.exists()
        assert not killed.exists()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"ser-verify-foreign", "other-verify-killed", "ser-verify-link", "elsewhere"}
    assert (elsewhere / "copy").exists()


def is_over(number: int) -> bool:
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_what_it_runs_hears_signals():
    """Signals wait only until it has started, and it does not inherit that."""
    code = f"{AS_AT_A_TERMINAL}\nverify.do(['grep', 'SigBlk', '/proc/self/status'], Path('.'), 'failed')"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout
    assert said.split() == ["SigBlk:", "0" * 16]


def test_a_missing_program_is_named(tmp_path):
    with pytest.raises(SerError, match=r"cannot be cloned: nix-git is not installed"):
        verify.do(["nix-git"], tmp_path, "the last commit cannot be cloned")


def lock(**md5: str) -> dict:
    return {stage: {"outs": [{"path": stage, "md5": value}]} for stage, value in md5.items()}


def test_the_first_stage_in_the_order_of_the_pipeline_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "_cache", lambda: tmp_path)
    stages = ["b", "a", "c"]
    assert verify.first_difference(stages, lock(a="1", b="2", c="3"), lock(a="1", b="2", c="3"), tmp_path) is None
    found = verify.first_difference(stages, lock(a="1", b="2", c="3"), lock(a="9", b="2", c="9"), tmp_path)
    assert found is not None
    assert (found.stage, found.path) == ("a", "a")
    gone = verify.first_difference(["a"], {}, lock(a="1"), tmp_path)
    assert gone is not None
    assert "committed none" in gone.said


def test_a_lock_of_other_code_is_no_evidence(committed, tmp_path, monkeypatch):
    monkeypatch.chdir(committed)
    stages = YAML(typ="safe", pure=True).load(committed / "dvc.lock")["stages"]
    stages["features@demo"]["deps"][0]["md5"] = "0" * 32
    YAML().dump({"stages": stages}, tmp_path / "dvc.lock")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    with pytest.raises(SerError, match=r"features@demo: dvc\.lock of the last commit was written for other code"):
        verify.agrees("demo", tmp_path, compare_bytes=True)


def test_other_processors_are_held_to_the_interval(committed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(committed)
    for name in ("dvc.lock", "dvc.yaml"):
        (tmp_path / name).write_bytes((committed / name).read_bytes())
    path = tmp_path / "metrics/corpora/demo.json"
    path.parent.mkdir(parents=True)
    values = json.loads((committed / "metrics/corpora/demo.json").read_text())
    for ua, inside in ((0.74, True), (0.6, False)):
        path.write_text(json.dumps(values | {"ua": ua}))
        assert verify.agrees("demo", tmp_path, compare_bytes=False) == inside
    assert capsys.readouterr().out.splitlines() == [
        "demo: UA 74.0 here, 80.6 [72.9, 88.2] committed: within the committed interval",
        "demo: UA 60.0 here, 80.6 [72.9, 88.2] committed: not within the committed interval",
    ]


def npy(*values: float) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(values, dtype=np.float32))
    return stream.getvalue()


def weights(**tensors: float) -> bytes:
    return save({name: np.full(3, value, dtype=np.float32) for name, value in tensors.items()})


@pytest.mark.parametrize(
    ("path", "before", "after", "said"),
    [
        ("a.npy", npy(1, 2), npy(1, 2), None),
        ("a.npy", npy(1, 2), npy(1, 2.5), "1 of 2 values differ, by at most 0.5"),
        ("a.npy", npy(np.nan, 2), npy(np.nan, 3), "1 of 2 values differ, by at most 1"),
        ("a.npy", npy(), npy(1), "it has another form:  (1,)"),
        ("a.npy", npy(1), b"", "it was not made"),
        ("a.npy", b"broken", npy(1), "6 of 6 bytes differ, 132 bytes in place of 6"),
        ("a.safetensors", weights(a=1, b=2), weights(a=1, b=4), "3 of 6 values differ, by at most 2 (first in b)"),
        ("a.csv", b"clip,p\nx,1\ny,2\n", b"clip,p\nx,1\nz,2.5\n", "2 of 4 values differ, by at most 0.5 (first in clip)"),
        ("a.json", b'{"ua": 0.5, "n": [1, null]}', b'{"ua": 0.25, "n": [1, null]}', "1 of 3 values differ, by at most 0.25 (first in ua)"),
        ("a.json", b'{"ua": 0.5}', b'{"ua": 0.5 }', "1 of 11 bytes differ, 12 bytes in place of 11"),
        ("a.onnx", b"abcd", b"abxd", "1 of 4 bytes differ"),
        ("a", b"", b"x", "0 of 0 bytes differ, 1 bytes in place of 0"),
    ],
)
def test_how_much_two_files_differ(path, before, after, said):
    assert difference(path, before, after) == said
