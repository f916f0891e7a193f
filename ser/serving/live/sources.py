"""Where live sound comes from: raw samples in a pipe, or a microphone."""

from __future__ import annotations

import contextlib
import importlib
import io
import queue
import sys
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from ser import SerError

READ = 1 << 15
"""Bytes taken from a pipe at once, at most."""
SECONDS = 0.1
"""Of sound that a microphone gives at once."""
PATIENCE = 10.0
"""Seconds without any block after which a microphone is gone."""
WAITING = 100
"""Blocks of a microphone that may wait; more are lost."""


def raw(stream: IO[bytes], channels: int) -> Iterator[np.ndarray]:
    """Blocks of a stream of 16-bit little-endian values, channel by channel (``s16le``), as soon as they come: int16 (n, channels).

    Bytes at the end that do not make a value of each channel are dropped.

    Args:
        stream: unbuffered, so that ``read`` gives what is there and does not wait for more.
        channels: number of them.
    """
    frame, rest = 2 * channels, b""
    while block := stream.read(READ):
        rest += block
        whole = len(rest) - len(rest) % frame
        yield np.frombuffer(rest[:whole], "<i2").reshape(-1, channels).astype(np.int16)
        rest = rest[whole:]


def standard_input(channels: int) -> Iterator[np.ndarray]:
    """``raw`` samples from standard input.

    Raises:
        SerError: where there is no pipe, or it cannot be read.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise SerError("--stdin reads a pipe of raw samples: `… | ser listen --stdin`")
    # unbuffered: a thread that waits in a buffered stream would hold its lock when the program ends
    with io.FileIO(sys.stdin.fileno(), closefd=False) as stream:
        try:
            yield from raw(stream, channels)
        except OSError as error:
            raise SerError(f"standard input cannot be read: {error.strerror}") from None


def microphone(rate: int, channels: int, device: str | None) -> Iterator[np.ndarray]:
    """Blocks of a microphone, int16 (n, channels), as long as they are asked for.

    Args:
        rate: samples per second.
        channels: number of them.
        device: part of its name, or its number; None: the default of the system.

    Raises:
        SerError: without the package or its library, without a microphone, or when it cannot be opened.
    """
    try:
        sounddevice: Any = importlib.import_module("sounddevice")
    except ImportError:
        raise SerError("the microphone needs an optional package: pip install 'ser[mic]'; or pipe sound in with --stdin") from None
    except OSError as error:
        raise SerError(
            f"the microphone needs PortAudio ({error}): install libportaudio2 or portaudio; or pipe sound in with --stdin"
        ) from None
    blocks: queue.Queue[np.ndarray] = queue.Queue(WAITING)

    def arrived(samples: np.ndarray, frames: int, when: object, status: object) -> None:
        with contextlib.suppress(queue.Full):
            blocks.put_nowait(samples.copy())

    chosen = int(device) if device is not None and device.isdecimal() else device
    try:
        with sounddevice.InputStream(
            samplerate=rate, channels=channels, dtype="int16", device=chosen, blocksize=round(SECONDS * rate), callback=arrived
        ):
            while True:
                yield blocks.get(timeout=PATIENCE)
    except queue.Empty:
        raise SerError(f"the microphone gave no sound for {PATIENCE:g} s: is it still there?") from None
    except (sounddevice.PortAudioError, ValueError) as error:
        which = "" if device is None else f" {device!r}"
        raise SerError(
            f"no sound from the microphone{which} ({error}): `python -m sounddevice` lists devices, --device names one"
        ) from None
