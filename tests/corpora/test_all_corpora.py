"""Every corpus through the whole pipeline, from fixture archives in a mirror to the report; and without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures import archives

from tests.pipeline import Project

PUBLIC = ["asvp_esd_v1", "asvp_esd_v2", "shemo"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.set({"train.epochs": 1, "split.folds": 2, "evaluate.robustness.max_clips": 0, "preprocess.max_rejected": 0.5})
    made.commit("shorter still")
    return made


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_corpora_run_through_to_the_report(project, tmp_path):
    mirror = archives.mirror(tmp_path / "mirror")
    own = archives.own_recordings(tmp_path / "own")
    names = ["demo", *PUBLIC, "ravdess", "emodb", "folder"]
    project.run(
        "dvc", "exp", "run", "-S", f"datasets=[{','.join(names)}]", "-S", f"corpora.folder.source.path={own}",
        timeout=900, SER_MIRROR=str(mirror),
    )  # fmt: skip
    for name in names:
        metrics = json.loads((project.folder / f"metrics/corpora/{name}.json").read_text())
        assert metrics["n"] > 0
        assert metrics["files_found"] == metrics["kept"] + sum(metrics["rejected"].values()), name
        assert (project.folder / f"exports/{name}/model.onnx").stat().st_size > 0
    page = (project.folder / "reports/index.html").read_text()
    assert all(f'id="{name}"' in page for name in names)


def test_without_a_network_one_message_per_corpus_says_what_to_put_where(project):
    """Whatever host there is: an address that nothing listens to stands for the network that is missing."""
    done = project.run(
        "dvc", "exp", "run", "-S", f"datasets=[demo,{','.join(PUBLIC)}]", check=False,
        **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9"),
        NO_PROXY="", no_proxy="", KAGGLE_CONFIG_DIR="/nowhere",
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode != 0
    for name in PUBLIC:
        assert f"{name}: " in said
        assert f"<folder>/{name}/" in said
    assert "Traceback" not in said
