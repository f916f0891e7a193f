"""Find a bundle by its name: a folder, a zip, an http(s) address with its sha256, or a bundle in the package."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import re
import struct
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO

from ser.runtime.disk import TransferError, written_whole
from ser.runtime.locks import alone
from ser.runtime.machine import cache_dir
from ser.runtime.speed import SteadyConnection, SteadyTlsConnection
from ser.serving.bundle import CARD, ENCODER, FACTS, LICENCE, MODEL, BundleError, graph, read

PACKAGED = Path(__file__).resolve().parents[1] / "bundles"
"""Folder of the bundles that travel with the package."""
FILES = (MODEL, ENCODER, FACTS, CARD, LICENCE)
"""Files of a bundle; no other is taken from a zip."""
MOST = 1 << 30
"""Bytes of a packed bundle, and of all that is in it, at most."""
SECONDS = 30.0
"""Wait for a server's next bytes at most; how few they may be says ``ser.runtime.speed``."""
BLOCK = 1 << 20
BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError, OverflowError)
"""What the standard library raises on damaged zips; it says NotImplementedError, a RuntimeError, of a method that it does not know."""
ADDRESS = re.compile(r"https?://", re.IGNORECASE)


def packaged() -> list[Path]:
    """Folders of the bundles in the package, by name."""
    return sorted(path.parent for path in PACKAGED.glob("*/bundle.json"))


def exported(exports: Path) -> list[Path]:
    """Folders of the bundles in ``exports/``, by name."""
    return sorted(path.parent for path in exports.glob("*/bundle.json"))


def default(exports: Path) -> Path:
    """The bundle to use when none is named: the only one in ``exports`` besides the demo's, else the one in the package, else the demo's.

    Raises:
        BundleError: if there is none, or a choice.
    """
    found, travelling = exported(exports), packaged()
    real = [path for path in found if path.name != "demo"] or travelling[:1] or found
    if len(real) == 1:
        return real[0]
    if not found:
        raise BundleError(f"no exported model in {exports.absolute()}: run `dvc repro`, or name one with --bundle")
    raise BundleError(f"several exported models ({', '.join(map(str, real))}): name one with --bundle")


def chosen(name: str | Path | None) -> Path:
    """The folder of a bundle by its name (``opened``); None: the one to use when none is named (``default`` with ``exports/``).

    Raises:
        BundleError: as these.
    """
    return default(Path("exports")) if name is None else opened(name)


def opened(name: str | Path) -> Path:
    """The folder of a bundle; a zip is unpacked and an address fetched into the cache, once.

    Args:
        name: a folder; a zip; ``https://…/bundle.zip#sha256=HEX``; or the name of a bundle in the package.

    Raises:
        BundleError: if it is none of these, cannot be fetched, has another checksum, or is too large.
    """
    text = str(name)
    if ADDRESS.match(text):
        return _fetched(text)
    path = Path(text)
    if not os.path.exists(path) and path.name == text and os.path.isfile(PACKAGED / text / FACTS):
        return PACKAGED / text
    if os.path.isfile(path):
        if not zipfile.is_zipfile(path):
            raise BundleError(f"{path} is neither a folder nor a whole zip: copy the bundle again")
        with path.open("rb") as packed:
            return _unpacked(packed, path.name, _sha256(packed, path.name))
    return path


def _cache(sha256: str) -> Path:
    return cache_dir(None) / "bundles" / sha256


def _sha256(stream: IO[bytes], name: str) -> str:
    digest, size = hashlib.sha256(), 0
    while block := stream.read(BLOCK):
        size += len(block)
        if size > MOST:
            raise BundleError(f"{name} has more than {MOST} bytes, the limit of a bundle")
        digest.update(block)
    return digest.hexdigest()


def _fetched(address: str) -> Path:
    url, _, mark = address.partition("#")
    wanted = mark.removeprefix("sha256=").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise BundleError(f"{url}: an address needs the checksum of what lies there; write {url}#sha256= and 64 hexadecimal digits")
    if _is_whole(_cache(wanted)):
        return _cache(wanted)
    with contextlib.ExitStack() as opened_here:
        try:
            packed = opened_here.enter_context(tempfile.TemporaryFile())
            for block in _blocks(url):
                packed.write(block)
            packed.seek(0)
        except OSError as error:
            raise BundleError(f"{url} cannot be kept in {tempfile.gettempdir()}: {error.strerror}; set TMPDIR to another disk") from None
        if (found := _sha256(packed, url)) != wanted:
            raise BundleError(f"{url} has the sha256 {found}, not the one in the address: fetch nothing from there, or correct the address")
        return _unpacked(packed, url, wanted)


class SameSafety(urllib.request.HTTPRedirectHandler):
    """Follows a redirect from https to https only, and never to anything but http(s)."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The request to follow with, as urllib asks for it.

        Raises:
            BundleError: where it is not followed.
        """
        if not ADDRESS.match(newurl) or (req.full_url.lower().startswith("https:") and not newurl.lower().startswith("https:")):
            raise BundleError(f"{req.full_url} redirects to {newurl[:200]}; only redirects to https, or from http to http, are followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Steady(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Gives up a server that sends too slowly (``ser.runtime.speed``)."""

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(SteadyConnection, req)

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(SteadyTlsConnection, req)


def _blocks(url: str) -> Iterator[bytes]:
    """What lies at an address, in pieces, ``MOST`` bytes at most."""
    try:
        with urllib.request.build_opener(SameSafety, _Steady).open(url, timeout=SECONDS) as answer:
            size, claimed = 0, answer.length
            while block := answer.read(BLOCK):
                size += len(block)
                if size > MOST:
                    raise BundleError(f"{url} sends more than {MOST} bytes, the limit of a bundle")
                yield block
            if claimed is not None and size < claimed:
                raise BundleError(f"{url} broke off after {size} of {claimed} bytes: try again")
    except urllib.error.HTTPError as error:
        raise BundleError(f"{url} cannot be fetched: status {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError, TransferError) as error:
        raise BundleError(f"{url} cannot be fetched: {getattr(error, 'reason', None) or error}") from None


def _unpacked(packed: IO[bytes], name: str, sha256: str) -> Path:
    """Unpack the files of a bundle, at the top of the zip or in its only folder, into the cache."""
    folder = _cache(sha256)
    if _is_whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            if not _is_whole(folder):  # now: another process may have unpacked it while this one waited
                _unpack(packed, name, folder)
    except (*BROKEN, OSError) as error:
        if not isinstance(error, OSError) or error.errno is None:  # bzip2 has no error of its own
            raise BundleError(f"{name} is not a whole zip ({error}): copy it again") from None
        raise BundleError(f"{name} cannot be unpacked into {folder.parent}: {error.strerror or error}; set SER_CACHE_DIR") from None
    return folder


def _unpack(packed: IO[bytes], name: str, folder: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        there = {info.filename: info for info in archive.infolist()}
        inside = [path for path in there if path == FACTS or (path.endswith(f"/{FACTS}") and path.count("/") == 1)]
        if len(inside) != 1:
            raise BundleError(f"{name} holds {len(inside)} files named {FACTS}; a packed bundle has exactly one")
        top = inside[0].removesuffix(FACTS)
        members = [there[top + file] for file in FILES if top + file in there]
        with written_whole(folder) as partial:
            _write(archive, members, partial, name)


def _is_whole(folder: Path) -> bool:
    """Whether a bundle in the cache is as it was unpacked. One that is not is made anew, or nothing that its user does would mend it."""
    try:
        facts = read(folder)
        graph(folder, MODEL, facts.model_sha256)
        if facts.encoder is not None:
            graph(folder, ENCODER, facts.encoder.sha256)
    except BundleError:
        return False
    return True


def _write(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, name: str) -> None:
    """Write members under their own names; what is counted are the bytes that come, not those that the zip claims."""
    left = MOST
    for member in members:
        with archive.open(member) as source, (folder / os.path.basename(member.filename)).open("wb") as target:
            while block := source.read(BLOCK):
                left -= len(block)
                if left < 0:
                    raise BundleError(f"{name} unpacks to more than {MOST} bytes, the limit of a bundle")
                target.write(block)
