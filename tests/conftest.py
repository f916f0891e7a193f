"""Fixtures that more than one module uses."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

import stages  # noqa: F401  (before numpy and torch: it chooses their kernels, as in a stage)
from tests.pipeline import Project

settings.register_profile("same", deadline=None, derandomize=True)  # neither a busy machine nor a lucky draw decides whether tests pass
settings.register_profile("anew", deadline=None, max_examples=1000)  # make test-slow: draws that nobody has seen yet
settings.load_profile("same")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what it puts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and commands that tests start would never hear of Ctrl-C

LONGEST = ("test_pipeline.py", "test_pretrained.py", "test_data_parallel.py", "test_emulated.py")
"""Files that take minutes each. Those that begin last would be waited for by one worker alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after one `dvc repro` on a shrunk demo corpus, committed. Tests that change it put it back."""
    project = Project(tmp_path_factory.mktemp("finished") / "project")
    project.run("dvc", "repro")
    project.commit("results")
    return project
