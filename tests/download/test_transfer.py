from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.server import Served, Server, serving

from ser.download import transfer
from ser.runtime import disk, speed
from ser.runtime.disk import TransferError

BODY = bytes(range(256)) * 4000  # about 1 MB, which no two offsets share
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(transfer, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(transfer, "UNREACHABLE_PAUSES", (0.01,))
    monkeypatch.setenv("NO_PROXY", "*")
    with serving() as running:
        yield running


def test_a_file_comes_whole_with_its_hashes(server: Server, tmp_path: Path) -> None:
    server.files["/a.zip"] = Served(BODY)
    sums = transfer.download(server.address + "/a.zip", tmp_path / "a.zip", size=len(BODY), checksum=MD5)
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert f"md5:{sums['md5']}" == MD5
    assert f"sha256:{sums['sha256']}" == SHA256
    assert os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("body", [b"", b"x"], ids=["empty", "one byte"])
def test_the_smallest_files(server: Server, tmp_path: Path, body: bytes) -> None:
    server.files["/a"] = Served(body)
    transfer.download(server.address + "/a", tmp_path / "a", checksum="md5:" + hashlib.md5(body).hexdigest())
    assert (tmp_path / "a").read_bytes() == body


def test_a_dropped_connection_is_resumed_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.files["/a.zip"] = Served(BODY, drops=5, drop_after=150_000)  # more drops than retries without progress
    transfer.download(server.address + "/a.zip", tmp_path / "a.zip", checksum=SHA256)
    assert (tmp_path / "a.zip").read_bytes() == BODY
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for _, asked in server.asked if asked]
    assert len(starts) == 5
    assert starts == sorted(set(starts))
    assert starts[0] > 0


def test_a_rerun_resumes_what_an_interrupted_run_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(BODY[:400_000])
    server.files["/a.zip"] = Served(BODY)
    transfer.download(server.address + "/a.zip", tmp_path / "a.zip", checksum=MD5)
    assert server.asked == [("/a.zip", "bytes=400000-")]
    assert (tmp_path / "a.zip").read_bytes() == BODY


def test_a_part_that_is_already_whole_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    server.files["/a.zip"] = Served(BODY)
    for size in (len(BODY), None):
        (tmp_path / "a.zip.part").write_bytes(BODY)
        transfer.download(server.address + "/a.zip", tmp_path / "a.zip", size=size, checksum=MD5)
        assert (tmp_path / "a.zip").read_bytes() == BODY
    assert server.asked == [("/a.zip", f"bytes={len(BODY)}-")]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"y" * 400_000)
    server.files["/a.zip"] = Served(BODY, ranges=False)
    transfer.download(server.address + "/a.zip", tmp_path / "a.zip", checksum=MD5)
    assert (tmp_path / "a.zip").read_bytes() == BODY


@pytest.mark.parametrize("junk", [b"y" * 400_000, b"y" * (len(BODY) + 9)], ids=["shorter", "longer"])
def test_a_part_of_something_else_is_thrown_away(server: Server, tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "a.zip.part").write_bytes(junk)
    server.files["/a.zip"] = Served(BODY)
    transfer.download(server.address + "/a.zip", tmp_path / "a.zip", checksum=MD5)
    assert (tmp_path / "a.zip").read_bytes() == BODY


def test_without_a_checksum_nothing_of_an_earlier_run_is_believed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"y" * 400_000)
    server.files["/a.zip"] = Served(BODY)
    transfer.download(server.address + "/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == BODY


@pytest.mark.parametrize(
    ("served", "message", "requests"),
    [
        (Served(status=404), "answers 404 Not Found", 1),
        (Served(status=403), "answers 403 Forbidden", 1),
        (Served(status=401), "answers 401", 1),
        (Served(status=503), r"answers 503 .*3 attempts", 3),
        (Served(status=429), r"answers 429 .*3 attempts", 3),
        (Served(b"z" * 1000), r"its md5 is \w+ \(1000 bytes\); expected \w+", 1),
        (Served(b"<!DOCTYPE html><html>log in</html>", kind="text/html"), "web page instead of the file", 1),
        (Served(BODY, ranges=False, drops=99, drop_after=9), r"the connection broke after \d+ of 1024000 bytes", 4),
        (Served(BODY, announced=50), "the connection broke|no bytes from", 4),
        (Served(BODY, announced=-50), r"its md5 is \w+ \(1023950 bytes\)", 1),
        (Served(BODY, drops=99, drop_after=0), r"the connection broke after 0 of 1024000 bytes \(3 attempts\)", 3),
        (Served(BODY[:-7], lengthless=True), r"its md5 is", 1),
        (Served(BODY, encoding="gzip"), r"the server sends damaged compression \(3 attempts\)", 3),
    ],
    ids=lambda value: None if not isinstance(value, Served) else str(value)[:60],
)
def test_each_misdeed_has_its_message_and_leaves_no_file(
    server: Server, tmp_path: Path, served: Served, message: str, requests: int
) -> None:
    server.files["/a.zip"] = served
    with pytest.raises(TransferError, match=message):
        transfer.download(server.address + "/a.zip", tmp_path / "a.zip", checksum=MD5)
    assert not (tmp_path / "a.zip").exists()
    assert len(server.asked) <= requests + 1


@pytest.mark.parametrize("announced", [50, -50])
def test_a_wrong_length_is_seen_at_once_where_the_right_one_is_known(server: Server, tmp_path: Path, announced: int) -> None:
    server.files["/a.zip"] = Served(BODY, announced=announced)
    with pytest.raises(TransferError, match=f"announces {len(BODY) + announced} bytes instead of {len(BODY)}"):
        transfer.download(server.address + "/a.zip", tmp_path / "a.zip", size=len(BODY), checksum=MD5)
    assert len(server.asked) == 1


@pytest.mark.parametrize("drips", ["all", "body"])
def test_a_server_that_drips_is_given_up_and_a_rerun_resumes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drips: str
) -> None:
    """Each byte comes in time and is progress, so that no attempt would be the last."""
    monkeypatch.setattr(speed, "SECONDS", 0.3)
    server.files["/a"] = Served(BODY[:200], drip=0.02, drips=drips)
    said = r"the server sends less than 1,000 bytes a second over 0.3 s"
    with pytest.raises(TransferError, match=said):
        transfer.download(server.address + "/a", tmp_path / "a", size=200, checksum="md5:" + hashlib.md5(BODY[:200]).hexdigest())
    with pytest.raises(TransferError, match=said):
        transfer.read_text(server.address + "/a")
    assert len(server.asked) == 2
    assert not (tmp_path / "a").exists()


def test_an_endless_answer_is_cut_at_the_known_length(server: Server, tmp_path: Path) -> None:
    server.files["/a.zip"] = Served(BODY * 5, lengthless=True)
    with pytest.raises(TransferError, match=f"more than the {len(BODY)} bytes"):
        transfer.download(server.address + "/a.zip", tmp_path / "a.zip", size=len(BODY), checksum=MD5)


def test_a_host_without_a_server(tmp_path: Path, server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.zip"  # taken, and nobody listens
        with pytest.raises(TransferError, match=r"127.0.0.1:\d+ cannot be reached: Connection refused \(2 attempts\)") as told:
            transfer.download(url, tmp_path / "a.zip", checksum=MD5)
    assert told.value.unreachable


def test_a_machine_without_a_network(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def nobody(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(TransferError, match=r"zenodo\.org cannot be reached: Name or service not known") as told:
        transfer.download("https://zenodo.org/a.zip", tmp_path / "a.zip", checksum=MD5)
    assert told.value.unreachable
    assert asked == ["zenodo.org"] * 2


@pytest.mark.parametrize("url", ["http://", "http://[", "ftp://127.0.0.1/a"])
def test_no_address(tmp_path: Path, server: Server, url: str) -> None:
    with pytest.raises(TransferError):
        transfer.download(url, tmp_path / "a.zip", checksum=MD5)


def test_too_little_room_is_refused_before_anything_is_written(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/a.zip"] = Served(BODY)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(TransferError, match=r"not enough space in .*: 1 MB needed, 0 MB free"):
        transfer.download(server.address + "/a.zip", tmp_path / "a.zip", checksum=MD5)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_fills_up_on_the_way(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").symlink_to("/dev/full")
    server.files["/a.zip"] = Served(BODY)
    with pytest.raises(TransferError, match=r"a\.zip\.part cannot be written: No space left on device"):
        transfer.download(server.address + "/a.zip", tmp_path / "a.zip", checksum=MD5)
    assert not (tmp_path / "a.zip").exists()


def test_a_copy_that_is_not_what_it_should_be_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    with pytest.raises(TransferError, match="its md5 is"):
        disk.copy(tmp_path / "new", tmp_path / "old", checksum=MD5, title="")
    assert (tmp_path / "old").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]
    disk.copy(tmp_path / "new", tmp_path / "old", checksum="md5:" + hashlib.md5(b"new").hexdigest(), title="")
    assert (tmp_path / "old").read_bytes() == b"new"


def test_a_text_is_bounded_and_must_be_one(server: Server) -> None:
    server.files |= {"/t": Served("füße".encode()), "/long": Served(b"x" * 2000), "/bytes": Served(b"\xff\xfe")}
    assert transfer.read_text(server.address + "/t") == "füße"
    with pytest.raises(TransferError, match="longer than 1000 bytes"):
        transfer.read_text(server.address + "/long", limit=1000)
    with pytest.raises(TransferError, match="is not text"):
        transfer.read_text(server.address + "/bytes")
    server.files["/packed"] = Served(b"text", encoding="gzip")
    with pytest.raises(TransferError, match="the server sends damaged compression"):
        transfer.read_text(server.address + "/packed")
    with pytest.raises(TransferError, match="404") as told:
        transfer.read_text(server.address + "/nothing")
    assert told.value.status == 404
