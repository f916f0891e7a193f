"""Sound of phones and browsers (MP4, M4A, AAC, WebM, AMR, WMA) by PyAV, the optional package ``ser[media]``."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import IO

import numpy as np

from ser import SerError

CONTAINERS = {
    b"\x1aE\xdf\xa3": "matroska",
    b"#!AMR": "amr",
    b"0&\xb2u\x8ef\xcf\x11": "asf",
    b"\xff\xf1": "aac",
    b"\xff\xf9": "aac",
}
"""First bytes → FFmpeg's demuxer. Only these and ``mp4`` are opened: others read playlists, which name further files and addresses."""


class MediaError(SerError):
    """A file that PyAV cannot decode."""


def installed() -> bool:
    """Whether PyAV is there."""
    return importlib.util.find_spec("av") is not None


def container(data: bytes) -> str | None:
    """FFmpeg's name of the demuxer for a file that begins so; None where it is not one of ours."""
    if data[4:8] == b"ftyp":
        return "mp4"
    return next((name for start, name in CONTAINERS.items() if data.startswith(start)), None)


def blocks(stream: IO[bytes], data: bytes) -> Iterator[tuple[np.ndarray, int]]:
    """The first sound track piece by piece: float32 (n, channels), and its rate in Hz; nothing where there is none.

    Args:
        stream: the file, from the beginning; it can seek.
        data: its first bytes.

    Raises:
        MediaError: if it is damaged.
    """
    import av

    try:
        with av.open(stream, format=container(data), metadata_errors="ignore") as file:
            if not file.streams.audio:
                return
            resampler = None
            for frame in file.decode(file.streams.audio[0]):
                if resampler is None:
                    resampler = av.AudioResampler("flt", frame.layout, frame.sample_rate)  # of a stream that changes, all as it began
                for piece in resampler.resample(frame):
                    yield piece.to_ndarray().reshape(-1, piece.layout.nb_channels), int(piece.sample_rate)
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(" ".join(str(error).split())[:200]) from None
