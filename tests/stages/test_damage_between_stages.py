"""What lies between two stages is compared with the checksums that the first one left, and by nobody where there are none."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages import command, doctor
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
