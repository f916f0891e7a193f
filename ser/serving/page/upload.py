"""The bytes of a request, bounded while they arrive; a length that a client claims is never trusted."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Mapping

from ser.serving.page.limits import Limits, RefusedError

MOST_NAME = 200
"""Characters of a recording's name."""
REFUSED_TYPES = ("multipart/", "text/", "application/json")
"""Content types in which the body is not the recording itself."""
CLOSE = {"Connection": "close"}
"""For a request of which not all was read."""


def checked(headers: Mapping[str, str], limits: Limits) -> None:
    """Look at a request's head, before any byte of its body.

    Raises:
        RefusedError: 415, if the body cannot be the recording itself; 400 for a length that is not a number; 413 for one that is too long.
    """
    kind = headers.get("content-type", "").lower()
    if kind.startswith(REFUSED_TYPES) or headers.get("content-encoding", "identity").lower() != "identity":
        words = "send the bytes of the recording as the body, not as a form and not compressed: curl --data-binary @recording.wav"
        raise RefusedError(415, "content_type", f"content_type: {words}", CLOSE)
    claimed = headers.get("content-length", "0")
    if not claimed.isdecimal():
        raise RefusedError(400, "content_length", "content_length: not a whole number", CLOSE)
    if len(claimed) > 18 or int(claimed) > limits.most_bytes:
        raise _too_large(limits)


async def received(chunks: AsyncIterator[bytes], limits: Limits) -> bytearray:
    """All bytes of a body.

    A client that sends more than is allowed reads no answer before it is done. So as much again is read and thrown away, within the time.

    Raises:
        RefusedError: 400, if there are none; 413, if there are too many; 408, if they take too long.
    """
    data, beyond = bytearray(), 0
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for chunk in chunks:
                if beyond or len(data) + len(chunk) > limits.most_bytes:
                    data.clear()
                    beyond += len(chunk)
                    if beyond > limits.most_bytes:
                        break
                else:
                    data += chunk
    except TimeoutError:
        words = f"slow_upload: not all of the recording came within {limits.upload_seconds:g} s"
        raise RefusedError(408, "slow_upload", words, CLOSE) from None
    if beyond:
        raise _too_large(limits)
    if not data:
        raise RefusedError(400, "empty", "empty: the request has no body; send the bytes of the recording as the body")
    return data


def shown(name: str) -> str:
    """A name from outside, fit to be displayed: without control characters and characters that turn the reading direction, not too long."""
    plain = "".join(sign for sign in name[: 4 * MOST_NAME] if unicodedata.category(sign)[0] != "C")
    return plain.strip()[:MOST_NAME] or "recording"


def _too_large(limits: Limits) -> RefusedError:
    return RefusedError(413, "too_large", f"too_large: more than the {limits.megabytes:g} MB that are read; cut it, or compress it", CLOSE)
