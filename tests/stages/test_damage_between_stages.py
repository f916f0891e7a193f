"""What lies between two stages is compared with the checksums that the first one left, and by nobody where there are none."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ser import SerError
from ser.params import load
from ser.runtime import sums
from stages import command, doctor, report
from stages.paths import Paths
from tests.pipeline import ROOT

STAGES = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]


def outputs(stage: str) -> set[str]:
    entry = STAGES[stage]
    listed = [*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])]
    return {(out if isinstance(out, str) else next(iter(out))).replace("${item.dataset}", "demo") for out in listed}


@pytest.mark.parametrize("stage", command.LEAVES)
def test_all_outputs_that_dvc_knows_are_recorded(stage):
    places = command.LEAVES[stage](Paths("demo"))
    for path in outputs(stage):
        assert any(Path(path).is_relative_to(place) for place in places), path


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_compares_what_it_depends_on(stage):
    deps = [Path(dep.replace("${item.dataset}", "demo")) for dep in STAGES[stage]["deps"]]
    written = {
        writer: [Path(out) for out in outputs(writer)]
        for writer in command.LEAVES
        if any(dep.is_relative_to(out) or out.is_relative_to(dep) for out in map(Path, outputs(writer)) for dep in deps)
    }
    # the report also shows what was rejected, and that evaluate's results are of the networks that are there
    assert set(command.READS.get(stage, ())) == set(written) | ({"preprocess", "train"} if stage == "report" else set())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "data/folds").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(stage: str, call) -> None:
    """Run ``call`` as the stage of this name."""
    sys.argv = [stage, "--dataset", "demo"]
    command.run(command.parser("A stage."), call)


def as_stage(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(command.inspect, "getfile", lambda stage: f"stages/{name}.py")


def split(params, options: argparse.Namespace) -> None:
    Paths("demo").assignment.write_text("clip,fold,part\n")


def nothing(params, options: argparse.Namespace) -> None:
    return


def test_a_file_damaged_after_its_stage_stops_the_next_one(place, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    as_stage(monkeypatch, "split")
    run("split", split)
    as_stage(monkeypatch, "train")
    run("train", nothing)
    Paths("demo").assignment.write_text("clip,fold,pars\n")
    with pytest.raises(SystemExit, match=r"error: data/folds/demo\.csv is damaged or of another run: .* run `dvc repro split@demo`"):
        run("train", nothing)
    as_stage(monkeypatch, "split")
    run("split", split)
    as_stage(monkeypatch, "train")
    run("train", nothing)


def test_what_dvc_brought_back_is_believed(place, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    as_stage(monkeypatch, "split")
    run("split", split)
    Paths("demo").assignment.write_text("of another experiment\n")
    monkeypatch.setattr(doctor, "locked", lambda paths: {path for path in paths if path == Paths("demo").assignment})
    as_stage(monkeypatch, "train")
    run("train", nothing)


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError(28, "No space left on device", "x"), SystemExit(143)])
def test_a_stage_that_ends_early_and_wrote_nothing_leaves_the_record_of_the_files_that_are_there(place, monkeypatch, end):
    monkeypatch.setattr(sys, "argv", sys.argv)
    as_stage(monkeypatch, "split")
    run("split", split)
    left = sorted(Path("data/sums/demo").iterdir())

    def fails(params, options: argparse.Namespace) -> None:
        raise end

    with pytest.raises(SystemExit):
        run("split", fails)
    assert sorted(Path("data/sums/demo").iterdir()) == left
    as_stage(monkeypatch, "train")
    run("train", nothing)
    Paths("demo").assignment.write_text("damaged")
    with pytest.raises(SystemExit, match="its SHA-256 is not the one that the stage left"):
        run("train", nothing)


def test_a_stage_that_ends_early_and_wrote_a_part_stops_the_next_one(place, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    as_stage(monkeypatch, "split")
    run("split", split)

    def fails(params, options: argparse.Namespace) -> None:
        Paths("demo").assignment.write_text("of the second run")
        raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        run("split", fails)
    as_stage(monkeypatch, "train")
    with pytest.raises(SystemExit, match="dvc repro split@demo"):
        run("train", nothing)


def locked(**files: str) -> None:
    """A dvc.lock that names these files, ``stage=path``, as they are, and an empty DVC project."""
    Path(".dvc").mkdir(exist_ok=True)
    stages = {
        f"{stage}@demo": {"cmd": "true", "outs": [{"path": path, "md5": hashlib.md5(Path(path).read_bytes()).hexdigest(), "size": 1}]}
        for stage, path in files.items()
    }
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))


@pytest.mark.parametrize("damaged", ["data/predictions/demo.csv", "metrics/corpora/demo.json"])
@pytest.mark.parametrize("record", [None, "", "{}", '{"data/predictions/demo.csv"'])
def test_without_a_whole_record_dvc_lock_decides(place, monkeypatch, damaged, record):
    """As after `dvc pull` in a fresh clone, where no stage has run."""
    as_stage(monkeypatch, "report")
    if record is not None:
        Path("data/sums/demo").mkdir(parents=True)
        Path("data/sums/demo/evaluate.json").write_text(record)
    Path(damaged).parent.mkdir(parents=True)
    Path(damaged).write_text("whole")
    locked(evaluate=damaged)
    run("report", lambda *_: None)
    Path(damaged).write_text("other")
    with pytest.raises(SystemExit) as ended:
        run("report", lambda *_: None)
    assert ended.value.code == (
        f"error: {damaged} is damaged or of another run: its MD5 is not the one in dvc.lock; run `dvc repro evaluate@demo`"
    )
    locked(split=damaged)  # of a stage that the report does not read
    run("report", lambda *_: None)
    locked(evaluate=damaged)
    Path("dvc.lock").write_text(Path("dvc.lock").read_text()[:-9])
    with pytest.raises(SystemExit, match=r"dvc\.lock is damaged"):
        run("report", lambda *_: None)


def test_a_record_is_believed_where_the_lock_is_of_before(place, monkeypatch):
    """DVC writes the lock when a stage has ended; somebody who runs it by hand never does."""
    result = Path("metrics/corpora/demo.json")
    result.parent.mkdir(parents=True)
    result.write_text("before")
    locked(evaluate=str(result))
    result.write_text("after")
    sums.leave(Path("data/sums/demo/evaluate.json"), sums.of([result]))
    as_stage(monkeypatch, "report")
    run("report", lambda *_: None)


def test_committed_results_beside_those_of_a_run_are_as_dvc_lock_says(place):
    result, other = Path("metrics/corpora/demo.json"), Path("data/predictions/demo.csv")
    for path in (result, other):
        path.parent.mkdir(parents=True)
        path.write_text("whole")
    report._check_committed("demo")  # nothing is locked
    locked(evaluate=str(other))
    other.write_text("of a run with other corpora")
    report._check_committed("demo")
    locked(evaluate=str(result))
    report._check_committed("demo")
    result.write_text("other")
    with pytest.raises(SerError, match=r"demo\.json is damaged or of another run: .*; `git checkout dvc\.lock metrics` brings back"):
        report._check_committed("demo")


def test_the_page_shows_no_committed_result_that_dvc_lock_does_not_know(place):
    committed = Path("metrics/corpora/ravdess.json")
    for path in (Path("metrics/corpora/demo.json"), committed):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("whole")
    locked(evaluate=str(committed))
    Path("dvc.lock").write_text(Path("dvc.lock").read_text().replace("evaluate@demo", "evaluate@ravdess"))
    committed.write_text("other")
    params = load()
    assert params.datasets == ["demo"]
    with pytest.raises(SerError, match=r"ravdess\.json is damaged or of another run"):
        report.main(params, argparse.Namespace(scores=False, audio=False))
