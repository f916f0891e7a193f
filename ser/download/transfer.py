"""Downloads one file over HTTP: resumes, retries and verifies it. The file appears whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import (
    ChunkedEncodingError,
    ConnectionError,
    ConnectTimeout,
    ContentDecodingError,
    InvalidURL,
    ProxyError,
    RequestException,
    SSLError,
    Timeout,
)
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError

from ser.runtime.disk import BLOCK, TransferError, bar, check_room, no_room_told, verify
from ser.runtime.speed import Steady
from ser.runtime.text import printable

TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and to wait for the next bytes, in a transfer."""
ASKING = (3.0, 5.0)
"""The same when only asking whether a host answers."""
PAUSES = (1.0, 3.0, 9.0, 27.0)
"""Seconds before each retry of a transfer that makes no progress."""
UNREACHABLE_PAUSES = (0.5,)
"""The same for a host that cannot be reached, so that a machine without a network fails within seconds."""
_WRONGLY_PACKED = "the server sends damaged compression"


def download(url: str, target: Path, *, size: int | None = None, checksum: str | None = None, title: str = "") -> dict[str, str]:
    """Fetch ``url`` into ``target``, which appears only when it is whole and its checksum is right.

    Returns its hashes.

    Until then the bytes are in ``<target>.part``. If the checksum is known, a later call resumes there with a
    Range request.

    Args:
        url: http(s) address.
        target: file to make; its folder exists.
        size: bytes that are expected, if known.
        checksum: ``md5:…`` or ``sha256:…``; None verifies nothing but the length.
        title: name on the progress bar.

    Raises:
        TransferError: saying what the server or the disk did.
    """
    part = target.with_name(target.name + ".part")
    if checksum is None:
        part.unlink(missing_ok=True)
    resumed = part.exists() and part.stat().st_size > 0
    _bring(url, part, size, title or target.name)
    try:
        sums = verify(part, checksum)
    except TransferError:
        part.unlink()
        if resumed:  # the part may have been of an older edition: once more from the start
            return download(url, target, size=size, checksum=checksum, title=title)
        raise
    os.replace(part, target)
    return sums


def _bring(url: str, part: Path, size: int | None, title: str) -> None:
    """Fill ``part``, with retries. Only attempts in a row that make no progress count towards giving up."""
    failures, reached = 0, part.stat().st_size if part.exists() else 0
    while True:
        try:
            _attempt(url, part, size, title)
            return
        except _Temporary as error:
            now = part.stat().st_size if part.exists() else 0
            failures = 0 if now > reached else failures + 1
            reached = max(now, reached)
            _wait(failures, error)


def read_text(url: str, limit: int = 16 * BLOCK) -> str:
    """A small text behind an address: a record's description, a checksum file, a listing.

    Raises:
        TransferError: as ``download``; also if it is longer than ``limit`` bytes or not UTF-8.
    """
    failures = 0
    while True:
        try:
            with _open(url, {}) as response:
                text = bytearray()
                for block in response.iter_content(1 << 16):
                    text += block
                    if len(text) > limit:
                        raise TransferError(f"{url} is longer than {limit} bytes")
                return text.decode("utf-8")
        except UnicodeDecodeError:
            raise TransferError(f"{url} is not text") from None
        except ContentDecodingError:
            failures += 1
            _wait(failures, _Temporary(_WRONGLY_PACKED))
        except (ChunkedEncodingError, ConnectionError, Timeout) as error:
            failures += 1
            _wait(failures, _Temporary(f"the connection broke: {_cause(error)}"))
        except _Temporary as error:
            failures += 1
            _wait(failures, error)


def ask(url: str) -> None:
    """Check that an address answers, with one request and short timeouts, without reading the body.

    A busy server counts as answering.

    Raises:
        TransferError: if it does not answer, or answers with an error.
    """
    try:
        with _open(url, {}, ASKING):
            pass
    except _Busy:
        pass
    except _Temporary as error:
        raise TransferError(str(error), unreachable=error.unreachable) from None


def _wait(failures: int, error: _Temporary) -> None:
    """Pause before the next attempt, or give up."""
    pauses = UNREACHABLE_PAUSES if error.unreachable else PAUSES
    if failures > len(pauses):
        raise TransferError(f"{error} ({failures} attempts)", unreachable=error.unreachable) from None
    time.sleep(pauses[max(failures, 1) - 1])


class _Temporary(Exception):
    """A failure that a retry may cure."""

    def __init__(self, message: str, unreachable: bool = False):
        super().__init__(message)
        self.unreachable = unreachable


class _Busy(_Temporary):
    """The server asks to be tried again later."""


def _attempt(url: str, part: Path, size: int | None, title: str) -> None:
    """Make one request and append its body to ``part``."""
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        part.unlink()
        have = 0
    if size is not None and have == size > 0:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with _open(url, headers) as response:
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise TransferError("the server sends a web page instead of the file (does it ask for a login?)")
        if response.status_code == 416:  # the part is as long as the server's file, or longer than it
            if size is None and response.headers.get("Content-Range") == f"bytes */{have}":
                return
            part.unlink()
            raise _Temporary(f"the server has no bytes from {have} on")
        if response.status_code != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0  # the whole file comes again
        length = _length(response)
        whole = have + length if length is not None else None
        if size is not None and whole is not None and whole != size:
            raise TransferError(f"the server announces {whole} bytes instead of {size}")
        if length is not None:
            check_room(part.parent, length)
        _receive(response, part, have, size if size is not None else whole, title)


@contextmanager
def _open(url: str, headers: dict[str, str], timeout: tuple[float, float] = TIMEOUT) -> Iterator[requests.Response]:
    try:
        with _Session() as session:
            response = session.get(url, headers=headers, stream=True, timeout=timeout)
    except (InvalidURL, ValueError) as error:
        raise TransferError(f"{url} is not an address: {error}") from None
    except SSLError as error:
        raise TransferError(f"TLS certificate verification failed for {_host(url)}: {_cause(error)}") from None
    except (ConnectionError, Timeout) as error:
        if isinstance(error, ConnectTimeout | ProxyError) or isinstance(_reason(error), NewConnectionError):
            raise _Temporary(f"{_host(url)} cannot be reached: {_cause(error)}", unreachable=True) from None
        raise _Temporary(f"{_host(url)} does not answer: {_cause(error)}") from None
    except RequestException as error:
        raise TransferError(f"{error}") from None
    with response:
        status = f"the server answers {response.status_code} {response.reason}"
        if response.status_code in (408, 425, 429) or response.status_code >= 500:
            raise _Busy(status)
        if response.status_code not in (200, 206, 416):
            raise TransferError(status, status=response.status_code)
        yield response


class _Adapter(HTTPAdapter):
    """Gives up a server that sends too slowly: to try it again would go on for ever, as each byte is progress."""

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str,
        proxies: dict[str, str] | None = None,
        cert: str | tuple[str, str] | None = None,
    ) -> HTTPConnectionPool:
        """Connections to a host, as requests asks for them."""
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        pool.ConnectionCls = type("Connection", (pool.ConnectionCls,), {"response_class": Steady})
        return pool


class _Session(requests.Session):
    """Follows a redirect only where ``_may_lead`` allows it."""

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter())

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where an answer leads, or None where it is no redirect.

        Raises:
            TransferError: if it leads where no bytes are taken from.
        """
        target = super().get_redirect_target(resp)
        if target is not None and not _may_lead(resp.url, urljoin(resp.url, target)):
            raise TransferError(
                f"{_host(resp.url)} redirects to {printable(target)[:200]}, which is not https: nothing is fetched from there"
            )
        return target


def _may_lead(here: str, there: str) -> bool:
    """Whether a redirect is followed: to https, or within the one http server that was asked for.

    Who can change what passes over http could send anything. So https is never left, and http only for https.
    """
    old, new = urlsplit(here), urlsplit(there)
    return new.scheme == "https" or (old.scheme == new.scheme == "http" and (old.hostname, old.port) == (new.hostname, new.port))


def _receive(response: requests.Response, part: Path, have: int, whole: int | None, title: str) -> None:
    with no_room_told(part, "; the partial file is kept"), part.open("ab" if have else "wb") as stream, bar(title, whole, have) as progress:
        got = have
        try:
            for block in response.iter_content(1 << 16):
                got += len(block)
                if whole is not None and got > whole:
                    raise TransferError(f"the server sends more than the {whole} bytes it should")
                stream.write(block)
                progress.update(len(block))
        except ContentDecodingError:
            raise _Temporary(_WRONGLY_PACKED) from None
        except (ChunkedEncodingError, ConnectionError, Timeout):
            raise _Temporary(f"the connection broke after {got} of {whole or 'unknown'} bytes") from None
    if whole is not None and got < whole:
        raise _Temporary(f"the connection broke after {got} of {whole} bytes")


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _host(url: str) -> str:
    return url.split("/")[2] if url.count("/") >= 2 else url


def _reason(error: Exception) -> object:
    """What requests wraps."""
    return getattr(error.args[0], "reason", None) if error.args else None


def _cause(error: Exception) -> str:
    """The innermost reason, without the library's wrapping."""
    text = str(error)
    for known in (
        "Name or service not known",
        "Temporary failure in name resolution",
        "Connection refused",
        "timed out",
        "Network is unreachable",
    ):
        if known in text:
            return known
    return text.rsplit(":", 1)[-1].strip(" )'\"")
