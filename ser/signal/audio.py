"""Bytes of a recording → mono float32 at the working rate.

libsndfile recognises the format (WAV, FLAC, OGG, MP3, AIFF, …) by content, never by name. No length field of
a header is
trusted: the samples that are there are read.
"""

from __future__ import annotations

import errno
import io
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, TypeVar

import numpy as np
import soundfile as sf
import soxr

from ser import SerError
from ser.runtime.signals import deferred
from ser.signal import media
from ser.signal.clips import to_int16
from ser.signal.formats import named

Value = TypeVar("Value")

RATES = (1_000, 768_000)
"""Plausible source rates in Hz. A recording that claims 1 Hz would grow 16,000-fold when resampled."""

MAX_POINTS = 1 << 28
"""Maximum number of decoded values (4.6 hours of mono at 16 kHz): a small FLAC can claim to hold years.

As float32 they are 1 GiB. ``read`` takes that and one block; ``decode`` and ``to_pcm`` take up to 2 GiB, for the
signal before and after resampling. Detection of speech comes on top.
"""

FULL_SCALE = 0.99
"""Magnitude from which a value counts as clipped; 8 bit PCM ends at 127/128."""

MAX_NAMED = 1 << 20
"""Bytes that are looked at to say what an unreadable file is."""

_BLOCK = 1 << 20
"""Values of a block, over all channels."""

_UNKNOWN = ("Format not recognised", "File does not exist or is not a regular file", "Error opening")
"""What libsndfile says of bytes in which it finds no format; the second is its word on a broken MP3."""


class AudioError(SerError):
    """A recording that cannot become a clip.

    Attributes:
        reason: one short word, the same for the same cause, so that it can be counted.
        detail: what is wrong, with values.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        return AudioError, (self.reason, self.detail)


def decode(data: bytes, sample_rate: int) -> np.ndarray:
    """Mono signal at ``sample_rate`` Hz, float32 in [−1, 1], shape (n,), n ≥ 1.

    Channels are averaged, then resampled by soxr at HQ (pass band to 91 % of the lower Nyquist frequency,
    alias-free). Floating-point recordings beyond full scale saturate, as in a converter.

    Raises:
        AudioError: ``unreadable``, ``empty``, ``nonfinite``, ``too_long``, or ``too_short`` for less than one
            value at ``sample_rate``.
    """
    channels, rate = read(data)
    mono = to_mono(channels)
    del channels  # a view of it, or not needed any more
    return resample(mono, rate, sample_rate)


def read(data: bytes) -> tuple[np.ndarray, int]:
    """All channels as they are, shape (n, channels), n ≥ 1, and the rate in Hz: 16 bit as int16, all else as
    float32 in [−1, 1).

    Raises:
        AudioError: ``unreadable``, ``empty``, ``nonfinite`` or ``too_long``.
    """
    channels: np.ndarray | None = None
    length = strange = 0
    for block, rate in blocks(io.BytesIO(data)):
        if block.dtype != np.int16:
            strange += block.size - int(np.count_nonzero(np.isfinite(block)))
        if channels is None:
            channels, length = block, len(block)
            continue
        if length * block.shape[1] >= MAX_POINTS:
            minutes = MAX_POINTS / block.shape[1] / rate / 60
            raise AudioError("too_long", f"longer than the {minutes:.0f} minutes that are read at {rate} Hz")
        # Grown in place: a list of blocks would need all of the memory twice when it is joined.
        channels = channels if channels.flags.owndata else channels.copy()
        channels.resize((length + len(block), block.shape[1]), refcheck=False)
        channels[length:] = block
        length += len(block)
    assert channels is not None
    if strange:
        raise AudioError("nonfinite", f"{strange} of {channels.size} values are NaN or infinite")
    return channels, rate


def blocks(stream: IO[bytes]) -> Iterator[tuple[np.ndarray, int]]:
    """A recording piece by piece: all channels as ``read`` gives them, but not yet checked for NaN, and the rate
    in Hz.

    What libsndfile cannot read and PyAV can, which is optional, is decoded by that (``ser.signal.media``).

    Args:
        stream: the bytes of a recording, from the beginning; it can seek.

    Raises:
        AudioError: ``unreadable``, or ``empty``.
        OSError: if the stream cannot be read.
    """
    empty, whole = True, _Stream(stream)
    try:
        with deferred():
            opened = sf.SoundFile(whole)
        with opened as source:
            rate = int(source.samplerate)
            if not RATES[0] <= rate <= RATES[1]:
                raise AudioError("unreadable", f"sample rate {rate} Hz is outside {RATES[0]}-{RATES[1]}")
            kind = "int16" if source.subtype == "PCM_16" else "float32"
            most = max(1, _BLOCK // source.channels)
            while len(block := _read_block(source, kind, most)):
                empty = False
                yield block, rate
                if len(block) < most:
                    break
        whole.check()
    except (sf.SoundFileError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
        whole.check()
        said = getattr(error, "error_string", str(error))  # without soundfile's prefix, which names an address in memory
        said = " ".join(said.split()) or type(error).__name__
        if not said.startswith(_UNKNOWN):
            raise AudioError("unreadable", said) from None
        stream.seek(0)
        data = stream.read(MAX_NAMED)
        if media.container(data) is None or not media.installed():
            raise AudioError("unreadable", named(data)) from None
    else:
        if empty:
            raise AudioError("empty", f"no audio in {stream.seek(0, io.SEEK_END)} bytes")
        return
    yield from _by_media(stream, data)


class _Stream:
    """A stream as libsndfile calls it. What it raises cannot pass through a library in C, which goes on as at the end of the data."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise what could not be raised.

        Raises:
            OSError: the first error of the stream.
        """
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of the stream, 0 after an error."""
        return self._kept(lambda: self._stream.seek(offset, whence), 0)

    def tell(self) -> int:
        """As of the stream, 0 after an error."""
        return self._kept(self._stream.tell, 0)

    def readinto(self, buffer: memoryview) -> int:
        """Bytes read into the buffer: all that there are, because fewer are taken for the end; none after an error."""
        read = 0
        while read < len(buffer) and (data := self._kept(partial(self._stream.read, len(buffer) - read), b"")):
            buffer[read : read + len(data)] = data
            read += len(data)
        return read

    def _kept(self, call: Callable[[], Value], otherwise: Value) -> Value:
        try:
            return call()
        except ValueError:  # a place before the beginning, to which a damaged header may send
            return otherwise
        except OSError as error:
            if error.errno != errno.EINVAL:  # the same of a file
                self._error = self._error or error
            return otherwise


def _by_media(stream: IO[bytes], data: bytes) -> Iterator[tuple[np.ndarray, int]]:
    """The same by PyAV."""
    stream.seek(0)
    empty = True
    try:
        for block, rate in media.blocks(stream, data):
            empty = False
            if not RATES[0] <= rate <= RATES[1]:
                raise AudioError("unreadable", f"sample rate {rate} Hz is outside {RATES[0]}-{RATES[1]}")
            yield block, rate
    except media.MediaError as error:
        raise AudioError("unreadable", f"{named(data).split(';')[0]}, damaged: {error}") from None
    if empty:
        raise AudioError("empty", "it holds no sound track")


def _read_block(source: sf.SoundFile, kind: str, most: int) -> np.ndarray:
    """The next block of at most ``most`` frames, shorter at the end.

    The length in the header can make the buffer smaller, never larger.
    """
    claimed = source.frames - source.tell() if source.seekable() else most
    wanted = most if claimed >= most or claimed <= 0 else claimed
    with deferred():
        block: np.ndarray = source.read(wanted, dtype=kind, always_2d=True)
    return block


def to_mono(channels: np.ndarray) -> np.ndarray:
    """Mean of the channels as ``read`` gives them: (n, channels) → (n,), float32, 16 bit scaled to [−1, 1)."""
    mono: np.ndarray = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1, dtype=np.float32)
    if channels.dtype == np.int16:
        mono = mono.astype(np.float32, copy=channels.shape[1] == 1)
        mono /= np.float32(32768)
    return mono


def to_pcm(channels: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Channels as ``read`` gives them → mono int16 at ``sample_rate``, shape (n,): ``decode``, rounded.

    16 bit mono at that rate is returned unchanged. The result is the same, without half a dozen passes over
    the signal.

    Raises:
        AudioError: as ``resample``.
    """
    if channels.dtype == np.int16 and channels.shape[1] == 1 and rate == sample_rate:
        return channels[:, 0]
    signal = resample(to_mono(channels), rate, sample_rate)
    pcm = np.empty(len(signal), dtype=np.int16)
    for start in range(0, len(signal), _BLOCK):  # rounding all at once would take the memory of the signal twice more
        pcm[start : start + _BLOCK] = to_int16(signal[start : start + _BLOCK])
    return pcm


def resample(signal: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Mono signal from ``rate`` to ``sample_rate`` Hz, float32 in [−1, 1].

    Raises:
        AudioError: ``too_short`` when less than one value would be left, ``too_long`` beyond ``MAX_POINTS``.
    """
    signal = _saturated(signal)  # also keeps 1e30, which is finite, from overflowing in the filter
    if rate == sample_rate:
        return signal
    if len(signal) * (sample_rate / rate) > MAX_POINTS:
        minutes = len(signal) / rate / 60
        raise AudioError("too_long", f"{minutes:.0f} minutes; at most {MAX_POINTS / sample_rate / 60:.0f} are read at {sample_rate} Hz")
    resampled: np.ndarray = soxr.resample(signal, rate, sample_rate, quality="HQ")
    if len(resampled) == 0:
        raise AudioError("too_short", f"{len(signal)} values at {rate} Hz are less than one at {sample_rate} Hz")
    return _saturated(resampled, own=True)  # the filter overshoots at clipped peaks


def _saturated(signal: np.ndarray, own: bool = False) -> np.ndarray:
    """The signal within [−1, 1]; ``own`` says that it may be changed in place."""
    return np.clip(signal, -1, 1, out=signal if own else None) if max(signal.max(), -signal.min()) > 1 else signal


def clipped(channels: np.ndarray) -> float:
    """Share of values at full scale, 0–1, in a recording as it was read (before mixing and resampling, which
    hide it).
    """
    bound = math.ceil(FULL_SCALE * 32768) if channels.dtype == np.int16 else FULL_SCALE  # an int, so that int16 need not be converted
    return (np.count_nonzero(channels >= bound) + np.count_nonzero(channels <= -bound)) / channels.size
