"""Whether a recording is whole: what its container promises against the bytes that came.

Decoders read on silently where a file is cut or bytes are wrong. Here WAV and AIFF are held against their sizes, FLAC against its count
of values, OGG against the numbers and checksums of its pages, MP3 against its count and chain of frames. A length field proves nothing
alone: sizes that writers of streams leave open (0, or all ones) promise nothing, and sound behind the promised end counts as missing too.
"""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass
from typing import IO, Literal

SMALLEST = 0.01
"""Seconds; a smaller difference does not count: some writers count a few bytes too many."""
SMALLEST_MP3 = 0.2
"""The same for MP3, whose decoders drop a few frames at the ends."""
OPEN = 0x7FFFF000
"""Sizes from here on, and 0, are those of a stream whose end was not known."""
MOST_CHUNKS = 10_000
"""Chunks of a WAV or AIFF that are looked through for its sound; empty ones cost time and no bytes."""
_PIECE = 1 << 20

Order = Literal["little", "big"]


@dataclass(frozen=True)
class Damage:
    """What is wrong with a recording.

    Attributes:
        found: seconds that were decoded.
        promised: seconds that there should be; None where the container does not say.
        cause: a phrase.
    """

    found: float
    promised: float | None
    cause: str

    @property
    def missing(self) -> float:
        """Share of the recording that is not there, 0–1; 1 where it is unknown."""
        return 1.0 if not self.promised else min(1.0, max(0.0, 1 - self.found / self.promised))

    def __str__(self) -> str:
        """``2.00 of 4.00 s are there: it ends before the size in its header``; rounded so that they never look the same."""
        promised = "an unknown length" if self.promised is None else f"{math.ceil(100 * self.promised) / 100:.2f} s"
        return f"{math.floor(100 * self.found) / 100:.2f} of {promised} could be read: {self.cause}"


def damage(stream: IO[bytes], found: float) -> Damage | None:
    """What is wrong with a recording; None where it is whole, or of a format that promises nothing.

    Args:
        stream: its bytes; it can seek.
        found: seconds that were decoded of it.
    """
    stream.seek(0)
    start = stream.read(12)
    if start[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM"):
        return _chunks(stream, start, found)
    if start.startswith(b"fLaC"):
        return _flac(stream, found)
    if start.startswith(b"OggS"):
        return _ogg(stream, found)
    if start.startswith(b"ID3") or (start[:1] == b"\xff" and len(start) > 1 and start[1] & 0xE0 == 0xE0 and start[1] & 6):
        return _mp3(stream, found)
    return None


def _chunks(stream: IO[bytes], start: bytes, found: float) -> Damage | None:
    """WAV and AIFF: the size of the chunk of sound against the bytes from there to the end."""
    order: Order = "big" if start[:4] in (b"FORM", b"RIFX") else "little"
    end = stream.seek(0, io.SEEK_END)
    at, size64 = 12, 0
    for _ in range(MOST_CHUNKS):
        if at + 8 > end:
            break
        stream.seek(at)
        head = stream.read(8)
        size = int.from_bytes(head[4:], order)
        if head[:4] == b"ds64":
            size64 = int.from_bytes(stream.read(16)[8:], "little")
        if head[:4] in (b"data", b"SSND"):
            return _sound(stream, at + 8, size64 if size == 0xFFFFFFFF else size, end, order, found)
        at += 8 + size + size % 2
    return None


def _sound(stream: IO[bytes], start: int, size: int, end: int, order: Order, found: float) -> Damage | None:
    there = end - start
    if size == 0 or (size >= OPEN and size > there) or there <= 0:
        return None
    if there < size:
        return _unless_small(found, found * size / there, "it ends before the size in its header")
    behind = start + size + size % 2
    stream.seek(behind)
    rest = stream.read(8)
    if len(rest) == 8 and rest.strip(b"\0"):
        chunk = rest[:4].isascii() and rest[:4].decode("ascii").isprintable() and behind + 8 + int.from_bytes(rest[4:], order) <= end + 1
        if not chunk:
            return _unless_small(found, found * there / size, "there is sound behind the size in its header")
    return None


def _flac(stream: IO[bytes], found: float) -> Damage | None:
    """FLAC: the count of values in STREAMINFO, its first block."""
    stream.seek(8)
    facts = stream.read(18)
    if len(facts) < 18:
        return None
    rate, count = int.from_bytes(facts[10:13], "big") >> 4, int.from_bytes(facts[13:18], "big") & 0xF_FFFF_FFFF
    return _unless_small(found, count / rate, "frames are cut off or unreadable") if rate and count else None


def _unless_small(found: float, promised: float, cause: str, smallest: float = SMALLEST) -> Damage | None:
    return Damage(found, promised, cause) if promised - found > smallest else None


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _checksum(page: bytes) -> int:
    """The CRC-32 of OGG, most significant bit first, by that of zlib, which has the least significant first."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _ogg(stream: IO[bytes], found: float) -> Damage | None:
    """OGG: every page whole, right by its checksum, and numbered one after the other in its stream."""
    stream.seek(0)
    numbers: dict[bytes, int] = {}
    while head := stream.read(27):
        if head[:4] != b"OggS" and not head.strip(b"\0"):
            return None  # zeros behind the last page
        lengths = stream.read(head[26]) if len(head) == 27 else b""
        body = stream.read(sum(lengths))
        if len(head) < 27 or (head[:4] == b"OggS" and (len(lengths) < head[26] or len(body) < sum(lengths))):
            return Damage(found, None, "it ends in the middle of a page")
        page = head[:22] + bytes(4) + head[26:] + lengths + body
        if head[:4] != b"OggS" or _checksum(page) != int.from_bytes(head[22:26], "little"):
            return Damage(found, None, "a page is not what its checksum says")
        number = int.from_bytes(head[18:22], "little")
        if numbers.get(head[14:18], number - 1) != number - 1:
            return Damage(found, None, "pages are missing")
        numbers[head[14:18]] = number
    return None


_KBITS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Kilobits per second by (MPEG 1, layer) and index − 1."""
_RATES = (44100, 48000, 32000)


@dataclass(frozen=True)
class _Frame:
    """The header of an MP3 frame: bytes of the frame, values per channel, rate in Hz, and bytes of side information."""

    size: int
    values: int
    rate: int
    side: int


def _frame(head: bytes) -> _Frame | None:
    """What four bytes say as the header of a frame; None if they are not one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbit, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or kbit in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = _RATES[rate] // (1 if first else 2 if version == 2 else 4)
    bits, padding = 1000 * _KBITS[first, layer][kbit - 1], head[2] >> 1 & 1
    mono = head[3] >> 6 == 3
    if layer == 1:
        return _Frame((12 * bits // hertz + padding) * 4, 384, hertz, 0)
    values = 576 if layer == 3 and not first else 1152
    return _Frame(values // 8 * bits // hertz + padding, values, hertz, (17 if mono else 32) if first else (9 if mono else 17))


def _mp3(stream: IO[bytes], found: float) -> Damage | None:
    """MP3: the count of frames in the first one (Xing, Info), or the time of all bytes at the rate of the frames in the chain."""
    stream.seek(0)
    head = stream.read(10)
    tag = (
        10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        if head[:3] == b"ID3" and len(head) == 10
        else 0
    )
    stream.seek(tag)
    data = stream.read(4096)
    first = _frame(data)
    if first is None:
        return None
    at = 4 + first.side
    if data[at : at + 4] in (b"Xing", b"Info") and len(data) >= at + 12 and data[at + 7] & 1:
        count = int.from_bytes(data[at + 8 : at + 12], "big")
        return _unless_small(found, count * first.values / first.rate, "frames are cut off or unreadable", SMALLEST_MP3)
    seconds, skipped, chained = _chain(stream, tag)
    if chained and skipped:
        return _unless_small(found, seconds * (1 + skipped / chained), "frames are cut off or unreadable", SMALLEST_MP3)
    return _unless_small(found, seconds, "frames are cut off or unreadable", SMALLEST_MP3)


def _chain(stream: IO[bytes], at: int) -> tuple[float, int, int]:
    """Follow the frames from ``at`` to the end: their seconds, the bytes that belong to no frame, and the bytes of frames."""
    seconds, skipped, chained = 0.0, 0, 0
    stream.seek(at)
    data, done = b"", False
    place = 0
    while True:
        if not done and len(data) - place < 8192:
            piece = stream.read(_PIECE)
            data, place, done = data[place:] + piece, 0, not piece
        if place + 4 > len(data):
            return seconds, skipped, chained
        frame = _frame(data[place : place + 4])
        if frame is not None:
            following = place + frame.size
            if (
                following + 4 > len(data)
                or _frame(data[following : following + 4]) is not None
                or data[following : following + 3] == b"TAG"
            ):
                seconds, chained, place = seconds + frame.values / frame.rate, chained + frame.size, following
                continue
        if data[place : place + 3] == b"TAG" or data[place : place + 8] == b"APETAGEX" or not data[place : place + 4096].strip(b"\0"):
            return seconds, skipped, chained
        step = data.find(b"\xff", place + 1)
        step = len(data) if step < 0 else step
        skipped, place = skipped + step - place, step
