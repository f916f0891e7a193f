"""`python -m stages.table`: commit, workspace and DVC experiments in one table, and no score under settings that did not make it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from ser.runtime import sums
from tests.pipeline import ROOT

METRICS = "metrics/corpora/demo.json"


class Repository:
    """A repository with the project's parameters and the committed result of the demo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SER_", "DVC_", "GIT_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder.parent / "site"),
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        (folder / "metrics/corpora").mkdir(parents=True)
        shutil.copy(ROOT / "params.yaml", folder)
        shutil.copy(ROOT / METRICS, folder / METRICS)
        (folder / "dvc.yaml").write_text(f"metrics:\n- {METRICS}\n")
        for words in (["init", "-q"], ["config", "user.email", "a@example.org"], ["config", "user.name", "A"]):
            self.run("git", *words)
        self.run("dvc", "init", "-q")

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "results")

    def result(self, overrides: list[str], ua: float, protocol: str = "speaker") -> None:
        """A run with other parameters and another score, in the workspace."""
        apply_overrides(self.folder / "params.yaml", overrides)
        values = json.loads((self.folder / METRICS).read_text())
        values |= {"ua": ua, "protocol": protocol}
        changed = dict(one.split("=") for one in overrides)
        values["parameters"] = [
            f'{key} = "{changed[key]}"' if (key := line.split(" = ")[0]) in changed else line for line in values["parameters"]
        ]
        (self.folder / METRICS).write_text(json.dumps(values))

    def rows(self, *words: str) -> list[list[str]]:
        lines = self.run(sys.executable, "-m", "stages.table", *words).splitlines()
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.commit()
    return made


def test_commit_workspace_and_experiments_with_protocol_and_interval(repository):
    repository.result(["model.fusion=concat", "split.protocol=random"], 0.8125, "random")
    repository.run("dvc", "exp", "save", "-n", "mixed")
    rows = {row[0]: row[1:] for row in repository.rows()}
    committed = json.loads((ROOT / METRICS).read_text())
    assert list(rows) == ["HEAD", "workspace", "mixed"]
    assert rows["HEAD"][:4] == ["nothing", "demo", committed["protocol"], str(committed["n"])]
    assert rows["HEAD"][4] == str((100 * Decimal(str(committed["ua"]))).quantize(Decimal("0.1"), ROUND_HALF_UP))
    assert re.fullmatch(r"\d+\.\d … \d+\.\d", rows["HEAD"][5])
    assert rows["mixed"][:5] == ["split.protocol = random, model.fusion = concat", "demo", "random", str(committed["n"]), "81.3"]


def test_a_score_is_not_shown_under_parameters_that_did_not_make_it(repository):
    apply_overrides(repository.folder / "params.yaml", ["model.fusion=concat"])
    (row,) = [row for row in repository.rows() if row[0] == "workspace"]
    assert row[1] == "model.fusion = concat"
    assert row[5:] == ["–", "not run with these settings yet", "–"]


def test_it_fits_a_terminal_with_many_changes(repository):
    repository.result(["model.fusion=concat", "model.heads=8", "train.epochs=5", "train.lr=0.01", "split.seed=4"], 0.5)
    repository.run("dvc", "exp", "save", "-n", "many")
    said = repository.run(sys.executable, "-m", "stages.table")
    assert "and 2 more" in said
    assert max(map(len, said.splitlines())) <= 160
    assert "not a result about human emotion" in said


def test_a_copied_result_is_no_result_of_the_experiment(repository):
    """Experiments are commits: they hold the committed results of corpora that they did not run, too."""
    shutil.copy(ROOT / "metrics/corpora/ravdess.json", repository.folder / "metrics/corpora")
    repository.commit()
    repository.result(["model.fusion=concat"], 0.7)
    repository.run("dvc", "exp", "save", "-n", "demo-only")
    assert [row[0] for row in repository.rows() if row[2] == "ravdess"] == ["HEAD"]
    assert [row[2] for row in repository.rows("--dataset", "ravdess")] == ["ravdess"]


def test_broken_results_and_none_at_all_are_said(repository):
    (repository.folder / METRICS).write_text("{}")
    said = repository.run(sys.executable, "-m", "stages.table")
    assert "dvc repro evaluate@demo" in said
    (repository.folder / METRICS).unlink()
    repository.commit()
    assert "no results yet: `make repro`" in repository.run(sys.executable, "-m", "stages.table")


@pytest.mark.parametrize(
    ("spoilt", "content", "says"),
    [
        (METRICS, b"\xff\xfe\x00", ["metrics/corpora/demo.json"]),
        (METRICS, None, ["metrics/corpora/demo.json"]),
        ("params.yaml", b"a: [", ["params.yaml cannot be used"]),
        ("params.yaml", b"\xff\xfe\x00", ["params.yaml cannot be used"]),
    ],
)
def test_a_commit_that_cannot_be_read_is_a_row_of_its_own(repository, spoilt, content, says):
    whole = (repository.folder / spoilt).read_bytes()
    (repository.folder / spoilt).write_bytes(content or whole[:50] + b"\xff" + whole[50:])
    repository.commit()
    (repository.folder / spoilt).write_bytes(whole)
    said = repository.run(sys.executable, "-m", "stages.table")
    assert "| workspace" in said
    assert all(one in said for one in says)


def test_params_in_another_encoding_of_yaml_are_read(repository):
    path = repository.folder / "params.yaml"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    assert [row[:3] for row in repository.rows()] == [["HEAD", "nothing", "demo"], ["workspace", "nothing", "demo"]]


@pytest.mark.parametrize(("old", "new"), [(b'"ua": 0', b'"ua": 1'), (b'"protocol": "speaker"', b'"protocol": "official"')])
def test_a_metrics_file_that_is_not_as_evaluate_left_it_shows_no_score(repository, monkeypatch, old, new):
    monkeypatch.chdir(repository.folder)
    sums.leave(Path("data/sums/demo/evaluate.json"), sums.of([Path(METRICS)]))
    whole = Path(METRICS).read_bytes()
    assert old in whole
    Path(METRICS).write_bytes(whole.replace(old, new, 1))
    said = repository.run(sys.executable, "-m", "stages.table")
    assert f"{METRICS} is damaged or of another run: its SHA-256 is not the one that the stage left" in said
    assert [row[2:] for row in repository.rows() if row[0] == "workspace"] == [["demo", *["–"] * 5]]


def test_a_pipe_in_the_place_of_results_is_not_waited_for(repository):
    (repository.folder / METRICS).unlink()
    os.mkfifo(repository.folder / METRICS)
    assert f"{METRICS} cannot be read, no regular file" in repository.run(sys.executable, "-m", "stages.table")
