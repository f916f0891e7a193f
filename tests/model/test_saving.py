"""A picture appears whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from ser import SerError
from ser.diagram.saving import save


@pytest.mark.parametrize("ending", ["png", "svg", "pdf", "PNG"])
def test_the_ending_gives_the_format(tmp_path: Path, ending: str) -> None:
    save(Figure(), tmp_path / f"deep/er/a.{ending}", 50, None)
    begin = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending.lower()]
    assert (tmp_path / f"deep/er/a.{ending}").read_bytes().startswith(begin)
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == [f"a.{ending}"]


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.pgf", "a.", ".svg"])
def test_no_picture_without_a_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(SerError, match=rf"--out .*{name}: the name needs an ending that gives the format: \.svg, \.png, \.pdf"):
        save(Figure(), tmp_path / name, 50, None, "--out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(_: Figure, path: Path, **__: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    picture = tmp_path / "a.png"
    picture.write_bytes(b"whole")
    monkeypatch.setattr(Figure, "savefig", cut)
    with pytest.raises(OSError, match="No space left") as told:
        save(Figure(), picture, 50, None)
    assert told.value.filename == str(picture)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.png": b"whole"}
