"""What may be named as a bundle: folder, zip, address, or one of the package; and which is taken when none is named."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import pytest

from ser.runtime import speed
from ser.serving import references
from ser.serving.bundle import BundleError, read
from ser.serving.predict import Predictor
from tests.fixtures.server import Served, serving
from tests.serving import small


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write(tmp_path_factory.mktemp("bundle") / "made")


def packed(bundle: Path, top: str = "", more: dict[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in bundle.iterdir():
            archive.write(path, top + path.name)
        for name, data in (more or {}).items():
            archive.writestr(name, data)
    return out.getvalue()


def marked(url: str, data: bytes) -> str:
    return f"{url}#sha256={hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("top", ["", "made/"])
def test_a_zip_is_a_bundle(bundle: Path, tmp_path: Path, top: str) -> None:
    (tmp_path / "x.zip").write_bytes(packed(bundle, top))
    assert Predictor(references.opened(tmp_path / "x.zip")).bundle == read(bundle)


def test_a_folder_is_itself(bundle: Path) -> None:
    assert references.opened(bundle) == bundle


def test_a_zip_leaves_nothing_outside_the_cache(bundle: Path, tmp_path: Path) -> None:
    data = packed(bundle, more={"../evil": b"x", "/tmp/evil": b"x", "made/evil.py": b"x"})
    (tmp_path / "x.zip").write_bytes(data)
    folder = references.opened(tmp_path / "x.zip")
    assert {path.name for path in folder.iterdir()} == {"bundle.json", "model.onnx"}
    assert {path.name for path in tmp_path.iterdir()} == {"x.zip", "cache"}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-30] + bytes(30), None),  # no zip any more, so it is taken for a folder and refused as one
        (lambda data: data.replace(b"bundle.json", b"bundle.jsox"), "holds 0 files named bundle.json"),
    ],
)
def test_a_broken_zip_is_one_message(bundle: Path, tmp_path: Path, damage, says: str | None) -> None:
    (tmp_path / "x.zip").write_bytes(damage(packed(bundle)))
    with pytest.raises(BundleError, match=says or "is neither a folder nor a whole zip"):
        read(references.opened(tmp_path / "x.zip"))


def spoilt(method: int) -> Callable[[bytes], bytes]:
    """Packed bytes that do not unpack."""

    def spoil(data: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as whole:
            again = io.BytesIO()
            with zipfile.ZipFile(again, "w", method) as archive:
                for name in whole.namelist():
                    archive.writestr(name, whole.read(name))
        packed = bytearray(again.getvalue())
        at = packed.index(b"model.onnx") + 24
        packed[at : at + 30] = bytes(byte ^ 0x5A for byte in packed[at : at + 30])
        return bytes(packed)

    return spoil


def misspelt(data: bytes) -> bytes:
    """A name that says it is UTF-8 and is not."""
    spoilt = bytearray(data)
    at = spoilt.rindex(b"PK\1\2")
    spoilt[at + 9] |= 8
    spoilt[at + 46] = 0xFF
    return bytes(spoilt)


@pytest.mark.parametrize(
    "damage",
    [spoilt(zipfile.ZIP_DEFLATED), spoilt(zipfile.ZIP_BZIP2), spoilt(zipfile.ZIP_LZMA), misspelt],
    ids=["deflate", "bzip2", "lzma", "name"],
)
def test_a_zip_that_does_not_unpack_is_one_message(bundle: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    (tmp_path / "x.zip").write_bytes(damage(packed(bundle)))
    with pytest.raises(BundleError, match=r"x.zip is not a whole zip .*: copy it again"):
        references.opened(tmp_path / "x.zip")


@pytest.mark.parametrize("spoil", ["bundle.json", "model.onnx"])
def test_a_damaged_copy_in_the_cache_is_made_anew(bundle: Path, tmp_path: Path, spoil: str) -> None:
    """It would otherwise be refused at each run, whatever is copied or exported again."""
    (tmp_path / "x.zip").write_bytes(packed(bundle))
    kept = references.opened(tmp_path / "x.zip")
    for broken in (b"x", None):
        (kept / spoil).unlink() if broken is None else (kept / spoil).write_bytes(broken)
        assert Predictor(references.opened(tmp_path / "x.zip")).bundle == read(bundle)


def test_who_asks_at_once_for_a_zip_shares_one_copy(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.zip").write_bytes(packed(bundle))
    write, both, entered = references._write, threading.Event(), []

    def slow(*arguments: Any) -> None:
        entered.append(arguments)
        if len(entered) == 2:
            both.set()
        both.wait(0.5)  # so that another could take away what is half written
        write(*arguments)

    monkeypatch.setattr(references, "_write", slow)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(references.opened, [tmp_path / "x.zip"] * 4))
    assert [Predictor(folder).bundle for folder in folders] == [read(bundle)]
    assert len(entered) == 1


def test_a_name_that_no_file_can_have_is_one_message(tmp_path: Path) -> None:
    for name in ("x" * 300, "x" * 5000, "x\0y"):
        with pytest.raises(BundleError, match=r"is not an exported model|cannot be read: (File name too long|embedded null)"):
            read(references.opened(name))


def test_a_full_temporary_folder_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> IO[bytes]:
        return open("/dev/full", "w+b", buffering=0)

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    data = packed(bundle)
    with serving() as server:
        server.files["/x.zip"] = Served(data)
        with pytest.raises(BundleError, match=r"cannot be kept in .*: No space left on device; set TMPDIR"):
            references.opened(marked(f"{server.address}/x.zip", data))


def test_too_much_is_refused_by_what_comes(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed(bundle, more={"README.md": bytes(500_000)})
    (tmp_path / "x.zip").write_bytes(data)
    monkeypatch.setattr(references, "MOST", 100_000)
    with pytest.raises(BundleError, match="unpacks to more than 100000 bytes"):
        references.opened(tmp_path / "x.zip")
    monkeypatch.setattr(references, "MOST", 100)
    with pytest.raises(BundleError, match="has more than 100 bytes"):
        references.opened(tmp_path / "x.zip")
    with serving() as server:
        server.files["/x.zip"] = Served(data, lengthless=True)
        with pytest.raises(BundleError, match="sends more than 100 bytes"):
            references.opened(marked(f"{server.address}/x.zip", data))


def test_an_address_is_fetched_once_and_verified(bundle: Path) -> None:
    data = packed(bundle)
    with serving() as server:
        server.files["/x.zip"] = Served(data)
        name = marked(f"{server.address}/x.zip", data)
        for _ in range(2):
            assert read(references.opened(name)) == read(bundle)
        assert len(server.asked) == 1
        server.files["/x.zip"] = Served(data[:-1] + b"x")
        with pytest.raises(BundleError, match=r"has the sha256 .* not the one in the address"):
            references.opened(f"{server.address}/x.zip#sha256={'0' * 64}")
        with pytest.raises(BundleError, match="cannot be fetched: status 404"):
            references.opened(f"{server.address}/y.zip#sha256={'0' * 64}")
    for name in ("https://example.org/x.zip", "https://example.org/x.zip#sha256=12"):
        with pytest.raises(BundleError, match="an address needs the checksum"):
            references.opened(name)


@pytest.mark.parametrize("drips", ["all", "body"])
@pytest.mark.parametrize("lengthless", [False, True])
def test_a_server_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch, drips: str, lengthless: bool) -> None:
    """Each byte comes in time, and the whole would take for ever."""
    monkeypatch.setattr(speed, "SECONDS", 0.3)
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        server.files["/x.zip"] = Served(bytes(200), drip=0.02, drips=drips, lengthless=lengthless)
        with pytest.raises(BundleError, match=r"x.zip cannot be fetched: the server sends less than 1,000 bytes a second over 0.3 s"):
            references.opened(f"{server.address}/x.zip#sha256={'0' * 64}")


@pytest.mark.parametrize(
    ("before", "after", "follows"),
    [
        ("https://a.example/x", "http://a.example/x", False),
        ("https://a.example/x", "https://b.example/x", True),
        ("http://a.example/x", "https://a.example/x", True),
        ("http://a.example/x", "file:///etc/passwd", False),
        ("https://a.example/x", "ftp://a.example/x", False),
    ],
)
def test_a_redirect_never_leaves_https(before: str, after: str, follows: bool) -> None:
    import urllib.request
    from http.client import HTTPMessage

    request = urllib.request.Request(before)
    handler = references.SameSafety()
    if follows:
        found = handler.redirect_request(request, io.BytesIO(), 302, "Found", HTTPMessage(), after)
        assert found is not None
        assert found.full_url == after
    else:
        with pytest.raises(BundleError, match="are followed"):
            handler.redirect_request(request, io.BytesIO(), 302, "Found", HTTPMessage(), after)


def test_the_default_is_ones_own_model_then_the_packages_then_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports, package = tmp_path / "exports", tmp_path / "package"
    monkeypatch.setattr(references, "PACKAGED", package)
    with pytest.raises(BundleError, match="no exported model in"):
        references.default(exports)

    def added(folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "bundle.json").touch()
        return folder

    demo = added(exports / "demo")
    assert references.default(exports) == demo
    travelling = added(package / "ravdess")
    assert references.default(exports) == travelling
    assert references.opened("ravdess") == travelling
    own = added(exports / "shemo")
    assert references.default(exports) == own
    added(exports / "folder")
    with pytest.raises(BundleError, match=r"several exported models .*folder.*shemo.*--bundle"):
        references.default(exports)
