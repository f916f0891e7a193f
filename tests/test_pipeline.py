"""The whole way of the data through the real commands, on a shrunk demo corpus in a repository of its own."""

from __future__ import annotations

import copy
import difflib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from ser.params.model import FUSIONS
from tests.dependencies import needed_by, tracked_by
from tests.pipeline import AGAINST, ROOT, Project

STAGES = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]


def ran(output: str) -> set[str]:
    """Names of the stages that DVC says it ran."""
    return {line.split("'")[1].split("@")[0] for line in output.splitlines() if line.startswith("Running stage")}


def test_repro_makes_everything_and_a_second_one_nothing(finished):
    for path in ("metrics/corpora/demo.json", "reports/index.html", "exports/demo/model.onnx", "data/predictions/demo.csv", "dvc.lock"):
        assert (finished.folder / path).exists(), path
    again = finished.run("dvc", "repro")
    assert ran(again.stdout) == set()
    assert "up to date" in again.stdout
    assert finished.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."


def test_metrics_begin_with_the_scores_and_name_the_protocol(finished):
    metrics = json.loads((finished.folder / "metrics/corpora/demo.json").read_text())
    assert [metrics["ua_low"], metrics["ua_high"]] == metrics["ci"]["ua"]
    assert list(metrics)[:7] == ["wa", "ua", "ua_low", "ua_high", "macro_f1", "n", "protocol"]
    assert metrics["protocol"] == "speaker"
    assert "not a result about human emotion" in metrics["notice"]
    assert metrics["n"] == len(pd.read_csv(finished.folder / "data/clips/demo/clips.csv"))


def test_found_is_kept_plus_rejected(finished):
    folder = finished.folder / "data/clips/demo"
    summary = json.loads((folder / "summary.json").read_text())
    kept, rejected = pd.read_csv(folder / "clips.csv"), pd.read_csv(folder / "rejected.csv")
    assert summary["files_found"] == len(kept) + len(rejected) == 6 * 2 * 6


def test_same_seed_same_bytes(finished):
    """All stages again from nothing, with every variable set that chooses other kernels: every hash in dvc.lock and every metric stays, in
    another commit too."""
    lock = finished.folder / "dvc.lock"
    before = lock.read_bytes()
    forced = finished.run("dvc", "repro", "--force", **AGAINST)
    assert ran(forced.stdout) == set(STAGES)
    assert lock.read_bytes() == before
    assert finished.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_needs_no_more_than_it_declares(finished, tmp_path, name):
    """Each command in an empty folder with its declared dependencies only: a forgotten file, or a key it reads unseen, fails here."""
    shutil.copy(finished.folder / "params.yaml", tmp_path)
    for dep in [*STAGES[name]["deps"], *(needed_by(f"stages/{name}.py") - tracked_by(f"stages/{name}.py"))]:
        # A matrix in the dependencies of the report lists one path per corpus.
        source, target = (folder / dep.replace("${item.dataset}", "demo") for folder in (finished.folder, tmp_path))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target, dirs_exist_ok=True) if source.is_dir() else shutil.copy(source, target)
    (tmp_path / "ser/model/fusions").mkdir(parents=True, exist_ok=True)
    for fusion in FUSIONS.names():  # the schema lists the names; what the modules hold is not there unless it is declared
        (tmp_path / "ser/model/fusions" / f"{fusion}.py").touch()
    command = shlex.split(STAGES[name]["cmd"].replace("${item.dataset}", "demo").replace("-m", f"{ROOT / 'tests/reads.py'} reads.json"))
    done = subprocess.run(command, cwd=tmp_path, env=finished.environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    for kind in ("outs", "metrics", "plots"):
        for out in STAGES[name].get(kind, []):
            path = (out if isinstance(out, str) else next(iter(out))).replace("${item.dataset}", "demo")
            assert (tmp_path / path).exists(), path
    listed = tuple(key.replace("${item.dataset}", "demo") for key in STAGES[name].get("params", []))
    read = json.loads((tmp_path / "reads.json").read_text())
    assert name != "train" or "train.lr" in read
    # download also looks at the labels of all corpora of the run, to refuse a misspelt one early; no output holds them
    checked = ("runtime.", "datasets", "corpora.") if name == "download" else ("runtime.",)
    assert [key for key in read if not key.startswith(checked) and not f"{key}.".startswith(tuple(f"{one}." for one in listed))] == []


AFTER = {
    "download": {"download", "preprocess", "split", "features", "encode", "train", "evaluate", "export", "report"},
    "preprocess": {"preprocess", "split", "features", "encode", "train", "evaluate", "export", "report"},
    "split": {"split", "train", "evaluate", "export", "report"},
    "features": {"features", "train", "evaluate", "export", "report"},
    "encode": {"encode", "train", "evaluate", "export", "report"},
    "train": {"train", "evaluate", "export", "report"},
    "evaluate": {"evaluate", "export", "report"},
    "export": {"export"},
    "report": {"report"},
    "nothing": set(),
}
"""First stage that changes → every stage that follows from it."""


@pytest.mark.parametrize(
    ("key", "value", "first"),
    [
        ("corpora.demo.source.seed", 8, "download"),
        ("corpora.demo.labels.classes", ["happy", "sad"], "preprocess"),
        ("corpora.shemo.labels.edition", "filename", "nothing"),
        ("preprocess.vad.method", "none", "preprocess"),
        ("preprocess.min_seconds", 0.2, "preprocess"),
        ("split.seed", 5, "split"),
        ("corpora.demo.split", {"seed": 5}, "split"),
        ("corpora.folder.split.folds", 3, "nothing"),
        ("features.log_mel.n_mels", 40, "features"),
        ("features.functionals", "egemaps", "features"),
        ("features.encoder", {"name": "whisper-base", "layers": [1, 2]}, "encode"),
        ("features.normalise", "clip", "train"),
        ("model.fusion", "concat", "train"),
        ("train.lr", 0.5, "train"),
        ("train.augment.gain_db", 1.0, "train"),
        ("evaluate.bootstrap", 300, "evaluate"),
        ("runtime.device", "cpu", "nothing"),
        ("runtime.workers", 3, "nothing"),
    ],
)
def test_a_parameter_reruns_what_depends_on_it(finished, key, value, first):
    """DVC's own word on what changed, and the graph for what follows."""
    before = (finished.folder / "params.yaml").read_bytes()
    try:
        finished.set({key: value})
        status = json.loads(finished.run("dvc", "status", "--json").stdout)
    finally:
        (finished.folder / "params.yaml").write_bytes(before)
    changed = {name.split("@")[0] for name in status}
    follows = set().union(*(AFTER[name] for name in changed)) if changed else set()
    assert follows == AFTER[first]
    assert changed <= AFTER[first]


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("ser/params/train.py", "nothing"),
        ("ser/params/base.py", "nothing"),
        ("ser/runtime/workers.py", "nothing"),
        ("ser/diagram/picture.py", "nothing"),
        ("ser/model/fusions/concat.py", "train"),
        ("ser/splits/leaks.py", "split"),
        ("ser/report/page.py", "report"),
    ],
)
def test_a_docstring_reruns_what_depends_on_its_file(finished, path, first):
    """What the schema says is not an input of any stage; what a stage computes with is."""
    file = finished.folder / path
    before = file.read_bytes()
    try:
        file.write_bytes(before.replace(b'"""', b'"""Said in other words. ', 1))
        assert file.read_bytes() != before
        changed = {name.split("@")[0] for name in json.loads(finished.run("dvc", "status", "--json").stdout)}
    finally:
        file.write_bytes(before)
    assert set().union(*(AFTER[name] for name in changed)) == AFTER[first]


def test_what_dvc_brings_back_is_not_taken_for_damage(finished):
    """The checksums in data/sums are of the last run, and DVC may bring back files of an earlier one; a flipped bit in them is damage."""
    before = (finished.folder / "params.yaml").read_bytes()
    command = ("python", "-m", "stages.features", "--dataset", "demo")
    try:
        finished.set({"preprocess.vad.padding_ms": 70})
        finished.run("dvc", "repro", "preprocess@demo")
        (finished.folder / "params.yaml").write_bytes(before)
        assert "is cached" in finished.run("dvc", "repro", "preprocess@demo").stdout
        finished.run(*command)
        path = finished.folder / "data/clips/demo/audio.npy"
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        failed = finished.run(*command, check=False)
        assert failed.returncode == 1
        assert "data/clips/demo/audio.npy is damaged or of another run" in failed.stderr
    finally:
        (finished.folder / "params.yaml").write_bytes(before)
        finished.run("dvc", "checkout", "-q", "--force")
    finished.run(*command)
    assert finished.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."


def test_params_survive_an_override_with_a_one_line_diff(finished):
    from dvc.utils.hydra import apply_overrides

    path = finished.folder / "params.yaml"
    before = path.read_text()
    try:
        apply_overrides(path, ["datasets=[demo,ravdess]"])
        after = path.read_text()
    finally:
        path.write_text(before)
    diff = [line for line in difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0) if line[0] in "+-"][2:]
    assert diff == ["+- ravdess"]


def test_an_experiment_reruns_training_only_and_its_metrics_stand_beside(finished):
    done = finished.run("dvc", "exp", "run", "--name", "sum", "-S", "model.fusion=sum", "report")
    try:
        assert ran(done.stdout) == {"train", "evaluate", "report"}
        diff = json.loads(finished.run("dvc", "metrics", "diff", "--json", "--all").stdout)
        assert {"old", "new"} <= set(diff["metrics/corpora/demo.json"]["ua"])
        assert "sum" in finished.run("dvc", "exp", "show", "--csv").stdout
    finally:
        finished.run("git", "checkout", "-q", ".")
        finished.run("dvc", "checkout", "-q")
        finished.run("dvc", "exp", "remove", "sum", check=False)


@pytest.mark.slow
def test_an_experiment_is_run_and_compared_as_its_page_says(finished):
    """The first block of docs/experiments.md, `make show` and `make reset`; the rows of the page's example are those of the output."""
    page = (ROOT / "docs/experiments.md").read_text(encoding="utf-8")
    lines = page.split("```")[1].strip().splitlines()
    shown = page[page.index("\n## Compare two runs") :].split("```")[0]
    assert [line.split()[:3] for line in lines] == [
        ["dvc", "exp", "run"], ["dvc", "metrics", "diff"], ["dvc", "plots", "diff"], ["python", "-m", "stages.compare"]
    ]  # fmt: skip
    (finished.folder / ".venv").mkdir()
    (finished.folder / ".venv/.installed").touch()  # for make: this Python stands first on PATH
    try:
        run, metrics, plots, compare = (finished.run("bash", "-c", line).stdout for line in lines)
        assert ran(run) == {"train", "evaluate", "export", "report"}
        assert metrics.split()[:5] == ["Path", "Metric", "main", "concat", "Change"]
        assert "ua" in {line.split()[1] for line in metrics.splitlines()}
        assert "index.html" in plots
        assert (finished.folder / "dvc_plots/index.html").exists()
        assert cells(compare) == cells(shown.split("Options choose")[0].replace("> |", "|"))
        table = finished.run("make", "show").stdout
        assert [words[1] for words in map(str.split, table.splitlines()[2:]) if words[:1] == ["|"]] == ["HEAD", "workspace", "concat"]
        assert "model.fusion was concat" in finished.run("make", "reset").stdout
        assert finished.run("git", "status", "--porcelain", "params.yaml").stdout == ""
    finally:
        finished.run("git", "checkout", "-q", ".")
        finished.run("dvc", "checkout", "-q")
        finished.run("dvc", "exp", "remove", "concat", check=False)
        shutil.rmtree(finished.folder / ".venv")


def cells(markdown: str) -> list[str]:
    """The first cell of each row of the tables."""
    return [line.split("|")[1].strip() for line in markdown.splitlines() if line.startswith("|") and not line.startswith(("|-", "| -"))]


@pytest.mark.slow
def test_a_temporary_experiment_runs_its_own_copy_of_the_code(finished):
    """`--temp` runs a copy of the committed project: its scripts must import the library beside them, not the workspace's."""
    spy = finished.folder / "ser/views/normalise.py"
    text = spy.read_text()
    spy.write_text(text + '\nprint("imported from", __file__)\n')
    finished.run("git", "commit", "-qam", "spy")
    try:
        done = finished.run("dvc", "exp", "run", "--temp", "-S", "train.lr=0.01")
        places = {line.split()[-1] for line in done.stdout.splitlines() if line.startswith("imported from")}
        assert places
        assert all("/.dvc/tmp/exps/" in place for place in places), places
    finally:
        finished.run("git", "reset", "-q", "--hard", "HEAD~1")
        finished.run("dvc", "checkout", "-q")


@pytest.mark.skipif(importlib.util.find_spec("opensmile") is None, reason="opensmile, an optional package, is not installed")
@pytest.mark.slow
def test_functionals_go_all_the_way_to_the_report(finished, tmp_path):
    """The SVM on openSMILE's functionals, from features on, is evaluated like any other model, robustness included."""
    names = ("data/clips", "data/folds", "params.yaml", "ser", "stages", "benchmarks")
    for name in names:
        source, target = finished.folder / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    project = copy.copy(finished)
    project.folder = tmp_path
    project.set({"features.functionals": "egemaps", "features.normalise": "speaker", "features.copies": None, "model.kind": "svm"})
    said = ""
    for stage in ("features", "train", "evaluate", "export"):
        said += project.run("python", "-m", f"stages.{stage}", "--dataset", "demo").stdout
    project.run("python", "-m", "stages.report")
    metrics = json.loads((tmp_path / "metrics/corpora/demo.json").read_text())
    assert metrics["normalise"] == "speaker"
    assert 'features.functionals = "egemaps"' in metrics["parameters"]
    assert metrics["ua"] > 2 * metrics["baselines"]["chance"]["ua"]
    assert len(metrics["robustness"]["conditions"]) == 10
    assert "the model card only" in said
    card = (tmp_path / "exports/demo/README.md").read_text()
    assert "the 88 functionals of openSMILE's eGeMAPSv02 (normalised by each speaker's own recordings)" in card
    assert "non-commercial" in card
    assert "ser predict" not in card
    assert not (tmp_path / "exports/demo/model.onnx").exists()


def interrupt(project: Project, *command: str, at: str) -> str:
    """Start a command, send Ctrl-C to its whole group when the log of the training contains ``at``; return its output and the log."""
    log = project.folder / "models/demo.log"
    log.unlink(missing_ok=True)
    with subprocess.Popen(
        command, cwd=project.folder, env={**project.environment, "PYTHONUNBUFFERED": "1"}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as child:  # fmt: skip
        while not (log.exists() and at in log.read_text()):
            assert child.poll() is None
            time.sleep(0.05)
        os.killpg(child.pid, signal.SIGINT)
        said, _ = child.communicate(timeout=60)
    assert child.returncode != 0
    return said + log.read_text()


@pytest.mark.slow
def test_ctrl_c_in_training_goes_on_from_the_last_epoch_but_never_with_other_parameters(finished, tmp_path):
    project = Project(tmp_path / "project")
    shutil.copytree(finished.folder / ".dvc/cache", project.folder / ".dvc/cache")
    shutil.copy(finished.folder / "dvc.lock", project.folder)
    project.run("dvc", "checkout", "--force", "-q", check=False)
    project.set({"train.epochs": 30})
    said = interrupt(project, "dvc", "repro", "train@demo", at="epoch   5/30")
    assert "resumes after" not in said
    assert "interrupted" in said
    time.sleep(1)
    (interrupted,) = (path for path in Path(project.environment["SER_CACHE_DIR"], "checkpoints").iterdir() if path.is_dir())

    project.set({"train.lr": 0.0123, "train.epochs": 30})
    said = interrupt(project, "dvc", "repro", "train@demo", at="epoch   1/30")
    assert "resumes after" not in said

    project.set({"train.lr": project_default("train.lr")})
    done = project.run("dvc", "repro", "train@demo")
    assert "resumes after epoch" in (project.folder / "models/demo.log").read_text()
    assert "epoch   9/30" not in done.stdout + done.stderr, "a bar alone"
    history = pd.read_csv(project.folder / "models/demo/history.csv")
    assert list(history["epoch"]) == [*range(1, 31)] * 3
    assert not interrupted.exists(), "the finished training's checkpoints are gone"


def project_default(key: str):
    """The shipped value of a parameter."""
    value = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    for part in key.split("."):
        value = value[part]
    return value


@pytest.mark.parametrize(
    ("changes", "stage", "dataset", "says"),
    [
        ({"train.lr": "fast"}, "download", "demo", ["train.lr", "'fast'", "a number"]),
        ({"model.fusion": "magic"}, "split", "demo", ["model.fusion", "'magic'", "concat"]),
        ({"split.folds": 1}, "train", "demo", ["split.folds", "found 1", "≥ 2"]),
        ({"datasets": ["demo", "nope"]}, "report", None, ["datasets", "nope", "ravdess"]),
        ({"runtime.device": "cuda"}, "train", "demo", ["runtime.device", "cuda", "cpu"]),
    ],
)
def test_bad_parameters_end_before_any_work(finished, changes, stage, dataset, says):
    before = (finished.folder / "params.yaml").read_bytes()
    try:
        finished.set(changes)
        command = ["python", "-m", f"stages.{stage}", *(["--dataset", dataset] if dataset else [])]
        done = finished.run(*command, check=False, CUDA_VISIBLE_DEVICES="")
    finally:
        (finished.folder / "params.yaml").write_bytes(before)
    assert done.returncode == 1
    for text in says:
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert finished.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."


def test_unknown_dataset_and_missing_inputs_are_said_in_one_line(finished, tmp_path):
    done = finished.run("python", "-m", "stages.train", "--dataset", "nope", check=False)
    assert done.returncode == 1
    assert "known: demo" in done.stderr
    for stage in ("preprocess", "split", "features", "train", "evaluate", "export"):
        done = finished.run("python", "-m", f"stages.{stage}", "--dataset", "emodb", check=False)
        assert done.returncode == 1, stage
        assert "Traceback" not in done.stderr, done.stderr
        assert "emodb" in done.stderr


@pytest.mark.parametrize("name", [*STAGES, "compare", "preset"])
def test_help(name):
    done = subprocess.run(["python", "-m", f"stages.{name}", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "usage" in done.stdout
