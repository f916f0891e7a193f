"""The command, on the made corpus: what it says, and that a killed search goes on."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from ser.params import load
from ser.runtime import sums
from ser.search import study
from ser.search.space import put
from ser.search.study import Outcome
from stages import command, search
from stages.search import experiment, line, table
from tests.made import ROOT
from tests.search.made_search import project

SPACE = "train.lr: {log: [1e-4, 1e-2]}\nmodel.dim: {choose: [16, 32]}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project(tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


def start(root: Path, *words: str, before: str = "") -> subprocess.Popen[str]:
    """The command, in the project; ``before`` is Python that runs first."""
    code = f"import runpy, sys\n{before}\nrunpy.run_module('stages.search', run_name='__main__', alter_sys=True)"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SER_")}
    environment |= {"PYTHONPATH": str(ROOT), "SER_CACHE_DIR": str(root / "cache"), "SER_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-u", "-c", code, "--dataset", "demo", *words]
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(root: Path, *words: str, before: str = "", status: int = 0) -> tuple[str, str]:
    """Standard output and error of the finished command."""
    with start(root, *words, before=before) as process:
        out, error = process.communicate(timeout=600)
    assert process.returncode == status, error
    return out, error


def rows(out: str) -> list[str]:
    return sorted(row for row in out.splitlines() if row.startswith("| ") and not row.startswith("| trial"))


@pytest.mark.slow
def test_killed_search_goes_on_and_ends_in_the_trials_of_an_undisturbed_one(root: Path) -> None:
    words = ("--space", "space.yaml", "--folds", "1")
    with start(root, *words, "--trials", "3") as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("trial 1:"):
            assert process.poll() is None, process.communicate()
        os.kill(process.pid, signal.SIGKILL)
    out, error = run(root, *words, "--trials", "3")
    assert "3 trials: 3 finished" in out
    assert "100%" in error
    assert [row.split()[1] for row in rows(out)] == ["0", "1", "2"]
    undisturbed, _ = run(root, *words, "--trials", "3", "--name", "undisturbed")
    assert rows(out) == rows(undisturbed)
    shown, _ = run(root, "--show")
    assert shown.strip() == out[out.index("3 trials") :].strip()


WAIT_FOR_THE_OTHER = """
import os, pathlib, time
from ser.search import study
take = study.take
def take_and_wait(*words):
    taken = take(*words)
    pathlib.Path('took').mkdir(exist_ok=True)
    pathlib.Path('took', str(os.getpid())).touch()
    begun = time.monotonic()
    while len(os.listdir('took')) < 2:
        assert time.monotonic() < begun + 300
        time.sleep(0.05)
    return taken
study.take = take_and_wait
"""
"""With its first trial taken, a process waits until the other has taken one."""


@pytest.mark.slow
def test_two_processes_share_one_search(root: Path) -> None:
    words = ("--space", "space.yaml", "--folds", "1", "--trials", "5")
    processes = [start(root, *words, before=WAIT_FOR_THE_OTHER) for _ in range(2)]
    found = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], found
    made = [sum(row.startswith("trial ") for row in out.splitlines()) for out, _ in found]
    assert sum(made) == 5
    assert min(made) >= 1
    out, _ = run(root, "--show")
    assert "5 trials: 5 finished" in out


@pytest.fixture
def here(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """The command in this process, where it has to fail: its standard output and its message."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("SER_CACHE_DIR", str(root / "cache"))
    monkeypatch.setenv("SER_THREADS", "1")

    def fails(*words: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["search", "--dataset", "demo", *words])
        with pytest.raises(SystemExit) as ended:
            command.run(search.arguments(), search.main)
        return capsys.readouterr().out, str(ended.value.code)

    return fails


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trials", "1"], "--space FILE is needed"),
        (["--space", "none.yaml"], "none.yaml cannot be read"),
        (["--space", "space.yaml", "--folds", "1", "9"], "--folds 9: data/folds/demo.csv has the folds 1, 2, 3"),
        (["--space", "space.yaml", "--name", "../../x"], "--name ../../x: letters"),
        (["--show"], "no search 'demo' in"),
        (["--show", "--dataset", "none"], "--dataset none: not a corpus"),
    ],
)
def test_errors_are_one_message(here: Callable[..., tuple[str, str]], words: list[str], message: str) -> None:
    out, error = here(*words)
    assert error.startswith(f"error: {message}")
    assert out == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["update version_info set schema_version=99", "update alembic_version set version_num='v9.9'"], "is of another version of optuna"),
        (["update trial_user_attributes set value_json='[1]' where key='ua'"], "is damaged (AttributeError"),
        (["update trial_user_attributes set value_json='{' where key='ua'"], "is damaged (JSONDecodeError"),
        (["update trials set state='UNHEARD'"], "is damaged (LookupError"),
        (["delete from trial_values"], "is damaged: scores or names are missing"),
        (["delete from trial_user_attributes"], "is damaged: scores or names are missing"),
        (["update study_user_attributes set value_json='[]'"], "is damaged: scores or names are missing"),
    ],
)
def test_a_study_with_other_contents_is_named(here: Callable[..., tuple[str, str]], root: Path, change: list[str], says: str) -> None:
    file = root / "cache/search/demo/study.sqlite"
    made = study.begin(file.parent, {"kind": "made"}, [], {})
    trial = made.ask()
    trial.set_user_attr("ua", {"1": 0.5})
    made.tell(trial, 0.5)
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        for line in change:
            database.execute(line)
    _, error = here("--show")
    assert error.startswith(f"error: {file} {says}")
    assert "Traceback" not in error


@pytest.mark.parametrize("words", [["--show"], ["--space", "space.yaml", "--trials", "1"]])
@pytest.mark.parametrize("spoilt", [b"no database" * 500, None])
def test_a_damaged_study_is_named(here: Callable[..., tuple[str, str]], root: Path, spoilt: bytes | None, words: list[str]) -> None:
    file = root / "cache/search/demo/study.sqlite"
    study.begin(file.parent, {"kind": "made"}, [], {})
    whole = file.read_bytes()
    file.write_bytes(spoilt or whole[:4096] + bytes(len(whole) - 4096))  # the whole file, or all but the list of tables
    _, error = here(*words)
    assert error.startswith(f"error: {file} is damaged, or cannot be used: ")
    assert error.endswith(f"; remove {file.parent} to begin anew")
    assert "\n" not in error


def test_features_that_are_not_as_their_stage_left_them_are_refused(here: Callable[..., tuple[str, str]], root: Path) -> None:
    features = root / "data/features/demo/log_mel.npy"
    sums.leave(root / "data/sums/demo/features.json", sums.of([features.relative_to(root)]))
    content = bytearray(features.read_bytes())
    content[-1] ^= 64
    features.write_bytes(content)
    _, error = here("--space", "space.yaml", "--trials", "1")
    assert "data/features/demo/log_mel.npy is damaged or of another run: its SHA-256" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trials", "0"], "argument --trials: found 0; expected a whole number from 1"),
        (["--trials", "-3"], "argument --trials: found -3; expected"),
        (["--seed", "-1"], "argument --seed: found -1; expected a whole number from 0"),
        (["--seed", "1.5"], "argument --seed: found 1.5; expected"),
    ],
)
def test_numbers_out_of_range_are_refused_with_the_command_line(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    with pytest.raises(SystemExit):
        search.arguments().parse_args(["--dataset", "demo", "--space", "space.yaml", *words])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["features/demo/offsets.npy", "clips/demo/clips.csv", "folds/demo.csv"])
def test_missing_inputs_name_the_stages(here: Callable[..., tuple[str, str]], root: Path, missing: str) -> None:
    (root / "data" / missing).unlink()
    _, error = here("--space", "space.yaml")
    assert error == f"error: data/{missing} not found: run `dvc repro features@demo split@demo` first"


def test_search_without_a_trainable_trial_says_why(here: Callable[..., tuple[str, str]], root: Path) -> None:
    (root / "space.yaml").write_text("model.cnn.channels: {choose: [[4], [8, 8]]}")
    out, error = here("--space", "space.yaml", "--trials", "3")
    assert "3 trials: 3 refused" in out
    assert error.startswith("error: no trial finished; the last refused one: ")
    assert "must have one entry per stage" in error


def test_database_is_opened_once(here: Callable[..., tuple[str, str]], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(study, "_open", lambda folder, really=study._open: opened.append(folder) or really(folder))
    (root / "space.yaml").write_text("model.cnn.channels: {choose: [[4], [8, 8]]}")
    here("--space", "space.yaml", "--trials", "3")
    assert len(opened) == 1


def test_without_optuna_it_says_what_to_install(root: Path) -> None:
    _, error = run(root, "--space", "space.yaml", before="sys.modules['optuna'] = None", status=1)
    assert error == "error: the search needs an optional package: pip install 'optuna>=5'\n"


OUTCOMES = [
    Outcome(3, "finished", 0.615, {1: 0.6, 2: 0.63}, {"model.branches": ["mfcc_cnn", "transformer"], "model.dim": None}, ""),
    Outcome(7, "finished", 0.5, {1: 0.4, 2: 0.6}, {"model.branches": ["mfcc_cnn"], "model.dim": 64}, "same values as trial 1"),
    Outcome(4, "pruned", 0.3, {1: 0.3}, {"model.branches": ["mfcc_cnn"], "model.dim": 16}, ""),
    Outcome(5, "refused", None, {}, {"model.branches": ["mfcc_cnn"], "model.dim": 8}, "model.dim 8 …"),
    Outcome(6, "running", None, {}, {}, ""),
]


def test_table() -> None:
    assert table(OUTCOMES).splitlines() == [
        "| trial | UA   | fold 1 | fold 2 |                        | model.branches         | model.dim |",
        "|-------|------|--------|--------|------------------------|------------------------|-----------|",
        "| 3     | 61.5 | 60.0   | 63.0   |                        | [mfcc_cnn,transformer] | null      |",
        "| 7     | 50.0 | 40.0   | 60.0   | same values as trial 1 | [mfcc_cnn]             | 64        |",
        "| 4     | 30.0 | 30.0   |        | pruned                 | [mfcc_cnn]             | 16        |",
        "| 5     |      |        |        | refused                | [mfcc_cnn]             | 8         |",
        "| 6     |      |        |        | running                |                        |           |",
    ]
    assert len(table(OUTCOMES * 9).splitlines()) == 12
    assert line(OUTCOMES[2]) == "trial 4: UA  30.0  pruned    model.branches=[mfcc_cnn] model.dim=16"
    assert line(OUTCOMES[3]).endswith("(model.dim 8 …)")


@pytest.mark.parametrize("corpus", ["demo", "ravdess"])
def test_printed_command_makes_of_params_yaml_what_the_trial_trained(tmp_path: Path, corpus: str) -> None:
    chosen = {"train.lr": 1.2e-05, "model.branches": ["mfcc_cnn"], "model.transformer.dim": None, "train.fast": True, "model.fusion": "sum"}
    words = shlex.split(experiment(chosen, load(ROOT / "params.yaml"), corpus))
    assert words[:4] == ["dvc", "exp", "run", "-S"]
    copy = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", copy)
    apply_overrides(copy, words[4::2])
    expected = put(YAML(typ="safe", pure=True).load(ROOT / "params.yaml"), chosen)
    expected["datasets"] = ["demo"] if corpus == "demo" else ["demo", "ravdess"]
    assert YAML(typ="safe", pure=True).load(copy) == expected
