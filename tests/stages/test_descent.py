"""Stages run by hand: what does not descend from what it is read with, or was made with other parameters, is refused."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ser.runtime import sums
from ser.search.space import put
from stages import command
from stages.paths import Paths

ROOT = Path(__file__).resolve().parents[2]
PATHS = Paths("demo")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stage", "--dataset", "demo"])
    return tmp_path


def set_to(**changes: object) -> None:
    yaml = YAML(typ="safe", pure=True)
    values = yaml.load(Path("params.yaml"))
    yaml.dump(put(values, {key.replace("__", "."): value for key, value in changes.items()}), Path("params.yaml"))


def run(monkeypatch: pytest.MonkeyPatch, stage: str, content: str = "") -> None:
    """A stage that leaves one file at each of its places."""

    def works(params, options: argparse.Namespace) -> None:
        for place in command.LEAVES.get(stage, lambda paths: [])(PATHS):
            file = place if place.suffix else place / "file"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content or stage)

    monkeypatch.setattr("inspect.getfile", lambda one: f"stages/{stage}.py")
    command.run(command.parser(""), works)


def all_until(monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    for stage in command.LEAVES:
        run(monkeypatch, stage)
        if stage == last:
            return


def test_a_run_in_order_is_accepted_and_so_is_the_same_again(monkeypatch):
    for _ in range(2):
        all_until(monkeypatch, "evaluate")
        for stage in ("export", "report", "search"):
            run(monkeypatch, stage)


@pytest.mark.parametrize(
    ("changes", "forgotten", "says"),
    [
        ({"features__log_mel__fmin": 300.0}, "features", "features.log_mel.fmin = 50.0, and params.yaml says 300.0"),
        ({"features__copies": None}, "features", "features.copies.babble_share = 0.3, and params.yaml says null"),
        ({"preprocess__sample_rate": 8000, "features__log_mel__fmax": 4000.0}, "preprocess", "preprocess.sample_rate = 16000"),
        ({"preprocess__vad__aggressiveness": 3}, "preprocess", "preprocess.vad.aggressiveness = 1, and params.yaml says 3"),
        ({"split__folds": 3}, "split", "split.folds = 4, and params.yaml says 3"),
        ({"corpora__demo__labels__classes": ["happy", "sad"]}, "preprocess", "corpora.demo.labels.classes"),
    ],
)
@pytest.mark.parametrize("reader", ["train", "search"])
def test_a_forgotten_stage_is_named_before_training(monkeypatch, changes, forgotten, says, reader):
    all_until(monkeypatch, "encode")
    set_to(**changes)
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, reader)
    assert str(ended.value).startswith(f"error: what {forgotten} left of demo was made with ")
    assert says in str(ended.value)
    assert f"python -m stages.{forgotten} --dataset demo" in str(ended.value)
    for stage in ("preprocess", "split", "features", "encode"):
        run(monkeypatch, stage)
    run(monkeypatch, reader)


def test_parameters_of_later_stages_do_not_matter(monkeypatch):
    all_until(monkeypatch, "encode")
    set_to(train__epochs=3, model__dim=64, evaluate__bins=4, features__normalise="clip", corpora__ravdess__labels__edition="official")
    run(monkeypatch, "train")
    set_to(train__epochs=4)
    run(monkeypatch, "evaluate")  # it uses what the training wrote down


@pytest.mark.parametrize(
    ("again", "reader", "stale"),
    [
        ("preprocess", "train", "split"),
        ("preprocess", "split", None),
        ("split", "train", None),
        ("features", "train", None),
        ("features", "evaluate", "train"),
        ("split", "evaluate", "train"),
        ("encode", "export", "train"),
        ("train", "export", "evaluate"),
        ("train", "evaluate", None),
        ("evaluate", "report", None),
        ("train", "report", "evaluate"),
        ("preprocess", "report", "train"),
    ],
)
def test_files_of_another_run_in_between_are_refused(monkeypatch, again, reader, stale):
    all_until(monkeypatch, "evaluate")
    run(monkeypatch, again, "other")
    if stale is None:
        run(monkeypatch, reader)
        return
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, reader)
    assert str(ended.value) == (
        f"error: what {stale} left of demo was made of other files than those that {again} has left since: "
        f"run `dvc repro {stale}@demo`, or by hand python -m stages.{stale} --dataset demo"
    )


def test_where_dvc_brought_files_back_its_own_hashes_decide(monkeypatch):
    from stages import doctor

    all_until(monkeypatch, "evaluate")
    run(monkeypatch, "features", "other")
    (PATHS.features / "file").write_text("features of another commit")
    monkeypatch.setattr(doctor, "locked", set)
    run(monkeypatch, "evaluate")


def test_the_note_beside_files_that_dvc_replaced_is_not_theirs(monkeypatch):
    from stages import doctor

    all_until(monkeypatch, "encode")
    set_to(split__folds=3)
    PATHS.assignment.write_text("three folds, from the cache")
    monkeypatch.setattr(doctor, "locked", set)
    run(monkeypatch, "train")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"of": 1, "params": {}}', "[" * 100_000, None])
def test_a_missing_or_damaged_note_says_nothing(monkeypatch, content):
    all_until(monkeypatch, "encode")
    set_to(split__folds=3)
    note = Path("data/sums/demo/split.of.json")
    assert json.loads(note.read_text())["params"]["split.folds"] == 4
    note.unlink() if content is None else note.write_text(content)
    run(monkeypatch, "train")


def test_without_dvc_yaml_descent_alone_is_compared(monkeypatch):
    Path("dvc.yaml").unlink()
    all_until(monkeypatch, "encode")
    set_to(split__folds=3)
    run(monkeypatch, "train")
    run(monkeypatch, "features", "other")
    with pytest.raises(SystemExit, match="what train left"):
        run(monkeypatch, "evaluate")


def test_a_stage_that_failed_leaves_the_note_of_the_files_that_are_there(monkeypatch):
    """Else a full disk would make a forgotten stage be forgotten twice."""
    all_until(monkeypatch, "encode")
    set_to(features__log_mel__fmin=300.0)

    def fails(params, options: argparse.Namespace) -> None:
        raise OSError(28, "No space left on device", str(PATHS.features))

    monkeypatch.setattr("inspect.getfile", lambda one: "stages/features.py")
    with pytest.raises(SystemExit, match="No space"):
        command.run(command.parser(""), fails)
    with pytest.raises(SystemExit, match=r"features\.log_mel\.fmin = 50\.0, and params\.yaml says 300\.0"):
        run(monkeypatch, "train")


@pytest.mark.parametrize("content", ["features", "other"], ids=["the same files", "other files"])
def test_a_stage_that_is_killed_before_its_checksums_leaves_no_note_that_is_believed_of_others(monkeypatch, content):
    """The note comes first, and says of which checksums it is."""
    all_until(monkeypatch, "encode")
    set_to(features__log_mel__fmin=300.0)
    with monkeypatch.context() as patched:
        patched.setattr(sums, "leave", lambda *_: sys.exit(143))
        with pytest.raises(SystemExit):
            run(monkeypatch, "features", content)
    if content == "features":  # computed with 300 Hz, whatever they are
        run(monkeypatch, "train")
        return
    with pytest.raises(SystemExit, match="its SHA-256 is not the one that the stage left"):
        run(monkeypatch, "train")


def test_a_note_of_other_checksums_is_not_believed(monkeypatch):
    """Left when a stage was killed after its note, and DVC then brought the older files back."""
    all_until(monkeypatch, "encode")
    note = Path("data/sums/demo/split.of.json")
    told = json.loads(note.read_text())
    note.write_text(json.dumps(told | {"for": "0" * 64}))
    set_to(split__folds=3)
    run(monkeypatch, "train")


@pytest.mark.parametrize("gone", ["when it was noted", "now"])
def test_a_note_with_parameters_and_one_without_are_not_compared(monkeypatch, gone):
    if gone == "now":
        all_until(monkeypatch, "encode")
        Path("dvc.yaml").unlink()
    else:
        Path("dvc.yaml").rename("kept")
        all_until(monkeypatch, "encode")
        Path("kept").rename("dvc.yaml")
    run(monkeypatch, "train")


def test_a_rank_that_no_launcher_gave_changes_nothing(monkeypatch):
    """A shell may still have the variable of some other program."""
    monkeypatch.setenv("RANK", "1")
    all_until(monkeypatch, "train")
    assert Path("data/sums/demo/split.json").exists()
    assert Path("data/sums/demo/train.json").exists()


def test_ranks_that_a_launcher_started_leave_the_record_to_the_first(monkeypatch):
    all_until(monkeypatch, "encode")
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    run(monkeypatch, "train")
    assert not Path("data/sums/demo/train.json").exists()
    run(monkeypatch, "split")
    assert Path("data/sums/demo/split.json").exists()
