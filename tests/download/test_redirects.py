"""A redirect leads to https or stays on the http server that was asked: real servers on this machine, with and without TLS."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fixtures.server import Served, Server, serving

from ser.download import transfer
from ser.runtime.disk import TransferError

BODY = b"the corpus" * 1000
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()
WAYS: dict[str, Callable[[str, Path], object]] = {
    "download": lambda url, folder: transfer.download(url, folder / "a", checksum=SHA256),
    "without checksum": lambda url, folder: transfer.download(url, folder / "a"),
    "read_text": lambda url, folder: transfer.read_text(url),
    "ask": lambda url, folder: transfer.ask(url),
}
"""Everything that asks a server."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1, made on the spot and worth nothing elsewhere."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return both


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(transfer, "PAUSES", (0.01,))
    monkeypatch.setenv("NO_PROXY", "*")
    with serving() as running:
        running.files["/there"] = Served(BODY, kind="application/octet-stream")
        yield running


@pytest.fixture
def safe(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name("certificate.pem")))
    with serving(certificate) as running:
        running.files["/there"] = Served(BODY, kind="application/octet-stream")
        yield running


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("way", WAYS)
def test_a_redirect_never_leaves_https(safe: Server, plain: Server, tmp_path: Path, status: int, way: str) -> None:
    safe.files["/a"] = Served(status=status, location=f"{plain.address}/there")
    with pytest.raises(TransferError, match=r"127\.0\.0\.1:\d+ redirects to http://127\.0\.0\.1:\d+/there, which is not https"):
        WAYS[way](f"{safe.address}/a", tmp_path)
    assert plain.asked == []
    assert list(tmp_path.iterdir()) == []


def test_nor_does_the_second_of_two(safe: Server, plain: Server, tmp_path: Path) -> None:
    plain.files["/a"] = Served(status=302, location=f"{safe.address}/b")
    safe.files["/b"] = Served(status=302, location=f"{plain.address}/there")
    with pytest.raises(TransferError, match="which is not https"):
        transfer.download(f"{plain.address}/a", tmp_path / "a", checksum=SHA256)
    assert [path for path, _ in plain.asked] == ["/a"]


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:9/there", "http://localhost:9/", "//127.0.0.1:9/there", "ftp://127.0.0.1/there", "file:///etc/passwd", "\tfile:/x"],
)
def test_http_is_left_for_https_only(plain: Server, tmp_path: Path, location: str) -> None:
    plain.files["/a"] = Served(status=302, location=location)
    with pytest.raises(TransferError, match="which is not https"):
        transfer.download(f"{plain.address}/a", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_what_is_followed(safe: Server, plain: Server, tmp_path: Path) -> None:
    ways = {
        f"{safe.address}/a": f"{safe.address}/there",
        f"{safe.address}/b": "/there",
        f"{plain.address}/a": f"{plain.address}/there",
        f"{plain.address}/b": "there",
        f"{plain.address}/c": f"{safe.address}/there",
    }
    for address, location in ways.items():
        server = safe if address.startswith(safe.address) else plain
        server.files[address.removeprefix(server.address)] = Served(status=302, location=location)
        transfer.download(address, tmp_path / "a", checksum=SHA256)
        assert (tmp_path / "a").read_bytes() == BODY
        (tmp_path / "a").unlink()


def test_a_circle_ends(plain: Server, tmp_path: Path) -> None:
    plain.files["/a"] = Served(status=302, location="/a")
    with pytest.raises(TransferError, match="redirects"):
        transfer.download(f"{plain.address}/a", tmp_path / "a")
    assert len(plain.asked) < 40
