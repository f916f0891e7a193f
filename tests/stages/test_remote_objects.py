"""Objects of a remote: a pipe in a folder is not waited for, what takes an object's place is mended, and errors are told in words."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from dvc.fs import LocalFileSystem
from dvc_data.hashfile.db import HashFileDB

from ser import SerError
from ser.params import load
from stages import remote

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one file that DVC knows."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "weights").write_bytes(CONTENT)
    for words in (["init", "-q", "--no-scm"], ["add", "-q", "weights"]):
        dvc(*words)
    return folder


def dvc(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words], check=True, timeout=300)


class Server(BaseHTTPRequestHandler):
    """Answers all requests alike, as ``answer`` of the server says."""

    def do_GET(self) -> None:
        status, length, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a server on this machine with the answer of the test's parameter; None: of one that has gone."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        where = f"http://127.0.0.1:{server.server_port}/store"
        if request.param is not None:
            server.answer = request.param
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield where
            server.shutdown()
            return
    yield where


@pytest.mark.parametrize(
    "address",
    [None, (500, 0, b""), (200, 4 * len(CONTENT), CONTENT)],
    ids=["nobody listens", "its own fault", "answers that end early"],
    indirect=True,
)
def test_a_server_that_cannot_be_read_is_one_message(project, address):
    dvc("remote", "add", "-q", "-d", "store", address)
    with pytest.raises(SerError, match=r"^DVC cannot read its remote: ."):
        remote.main(load(ROOT / "params.yaml"), Namespace(remote=None, mend=False))


@pytest.mark.parametrize("address", [(404, 0, b"")], ids=["nothing there"], indirect=True)
def test_a_server_that_lacks_an_object_is_no_error(project, address, caplog):
    caplog.set_level("INFO")
    dvc("remote", "add", "-q", "-d", "store", address)
    remote.main(load(ROOT / "params.yaml"), Namespace(remote=None, mend=False))
    assert "not in the remote: weights (weights.dvc)" in caplog.text


@pytest.mark.parametrize("address", [(200, 4, b"rust")], ids=["takes nothing"], indirect=True)
def test_a_server_that_takes_nothing_is_one_message(project, address):
    dvc("remote", "add", "-q", "-d", "store", address)
    with pytest.raises(SerError, match=rf"^DVC cannot write {address}/files/md5/.*: ."):
        remote.main(load(ROOT / "params.yaml"), Namespace(remote=None, mend=True))


def test_a_remote_whose_package_is_missing_is_one_message(project):
    dvc("remote", "add", "-q", "-d", "store", "hdfs://example.invalid/store")
    with pytest.raises(SerError, match=r"^DVC cannot read its remote: .*dvc-hdfs"):
        remote.main(load(ROOT / "params.yaml"), Namespace(remote=None, mend=False))
