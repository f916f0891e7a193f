"""Fixtures of more than one module about serving."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving import small


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle made by hand, with attention."""
    return small.write(tmp_path_factory.mktemp("bundle") / "made", attention=["cnn", "transformer"])
