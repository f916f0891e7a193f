"""Fixtures that more than one module uses."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.pipeline import Project

settings.register_profile("untimed", deadline=None)  # a busy machine is no error
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after one `dvc repro` on a shrunk demo corpus, committed. Tests that change it put it back."""
    project = Project(tmp_path_factory.mktemp("finished") / "project")
    project.run("dvc", "repro")
    project.commit("results")
    return project
