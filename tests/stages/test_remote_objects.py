"""Objects of a remote that is a folder: a pipe is not waited for, and what takes an object's place is mended."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from dvc.fs import LocalFileSystem
from dvc_data.hashfile.db import HashFileDB

from stages import remote

CONTENT = b"weights"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("made", "whole"),
    [
        (lambda path: path.write_bytes(CONTENT), True),
        (lambda path: path.write_bytes(CONTENT[:-1]), False),
        (os.mkfifo, False),
        (Path.mkdir, False),
        (lambda path: path.symlink_to("/dev/zero"), False),
    ],
    ids=["whole", "cut", "pipe", "folder", "device"],
)
def test_what_lies_in_an_objects_place(tmp_path, made, whole):
    place = HashFileDB(LocalFileSystem(), str(tmp_path))
    path = Path(place.oid_to_path(MD5))
    path.parent.mkdir(parents=True)
    made(path)
    assert remote.whole_in(place, MD5) == whole
    remote._cleared(place, MD5)
    assert path.is_file() == (whole or path.exists())
    if path.exists():
        assert path.read_bytes() in (CONTENT, CONTENT[:-1])


def test_a_missing_object_is_missing(tmp_path):
    place = HashFileDB(LocalFileSystem(), str(tmp_path))
    with pytest.raises(FileNotFoundError):
        remote.whole_in(place, MD5)
    remote._cleared(place, MD5)
    assert remote._listing(f"{MD5}.dir", place, place) is None
