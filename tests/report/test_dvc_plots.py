"""`dvc plots show` and `dvc plots diff` draw our plots in a browser that has no network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from ser.evaluation import scoring, tables
from tests import browser, predicted

ROOT = Path(__file__).resolve().parents[2]
LABELS = ("neutral", "</script><b>", "<!--<script>", "</SCRIPT >")
"""Labels as a table of recordings may hold them."""
PLOTS = ("loss", "confusion", "reliability", "folds", "robustness")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own plot declarations and templates over made-up tables, committed once and changed since."""
    folder = tmp_path_factory.mktemp("plots") / "repository"
    folder.mkdir()
    run(folder, "git", "init", "-q")
    for name in (".dvc/plots", "docs/vega"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    declared = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]["evaluate"]["plots"]
    stage = {"matrix": {"dataset": ["demo"]}, "cmd": "true", "plots": declared}
    with open(folder / "dvc.yaml", "w") as stream:
        YAML().dump({"stages": {"evaluate": stage}}, stream)
    for skill in (1.0, 2.0):
        write(folder / "metrics/plots/demo", skill)
        if skill == 1.0:
            run(folder, "git", "add", "-A")
            run(folder, "git", "-c", "user.email=a@example.org", "-c", "user.name=A", "commit", "-qm", "one")
    return folder


def run(folder: Path, *command: str) -> str:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("SER_", "DVC_", "GIT_"))},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site"),
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def write(folder: Path, skill: float) -> None:
    table = predicted.clips(classes=LABELS)
    made = predicted.predictions(table, skill=skill, classes=LABELS)
    plots = scoring.evaluate(made, table, predicted.FOLDS, predicted.settings(), predicted.RATE).plots
    history = [(1, 0, epoch, 2 / epoch, 2.1 / epoch, 1 - 0.8 / epoch, 0.001) for epoch in (1, 2, 3)]
    columns = ["fold", "seed", "epoch", "train_loss", "valid_loss", "valid_ua", "lr"]
    plots["loss"] = tables.curves(pd.DataFrame(history, columns=columns))
    plots["robustness"] = pd.DataFrame({"condition": ["clean", "mp3"], "ua": [0.6, 0.5], "wa": [0.6, 0.5], "lost": [0.0, 0.1]})
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in plots.items():
        (folder / f"{name}.csv").write_text(tables.to_text(content), encoding="utf-8")


@pytest.mark.parametrize("command", [("show",), ("diff", "HEAD")], ids=["show", "diff"])
def test_every_plot_is_drawn_without_a_network(repository, tmp_path, command):
    said = run(repository, "dvc", "plots", *command)
    assert "failed" not in said.lower()
    page = repository / "dvc_plots/index.html"
    found = browser.opened(page, tmp_path, wait=1500)
    # vega-embed 6.18.2 compares versions wrongly and says so of every plot, also of DVC's own shapes
    assert [line for line in found["console"] if " spec uses Vega" not in line] == []
    assert found["errors"] == []
    assert found["requests"] == []
    assert found["rendered"] == len(PLOTS)
    assert sum(width > 200 for width in found["drawn"]) == len(PLOTS)


def test_a_label_cannot_end_the_script_that_holds_it(repository):
    """Whatever a browser makes of ``<`` inside a script, there is none; and the labels can be read."""
    run(repository, "dvc", "plots", "show")
    page = (repository / "dvc_plots/index.html").read_text(encoding="utf-8")
    specifications = re.findall(r"var spec = (.*);\n", page)
    assert len(specifications) == len(PLOTS)
    assert not [one[:80] for one in specifications if "<" in one]
    drawn = {row["actual"] for one in specifications for row in json.loads(one)["data"]["values"] if "actual" in row}
    assert drawn == {label.replace("<", "＜") for label in LABELS}


def test_every_table_has_a_declaration():
    declared = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]["evaluate"]["plots"]
    names = {next(iter(entry)) for entry in declared}
    assert names == {f"metrics/plots/${{item.dataset}}/{name}.csv" for name in PLOTS}


def test_the_page_is_small_enough_to_live_in_git():
    assert (ROOT / "docs/vega/plots.html").stat().st_size < 1_000_000
