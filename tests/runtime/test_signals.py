"""Ctrl-C that comes while libsndfile calls back: it is neither lost nor does it cut a clip short."""

from __future__ import annotations

import io
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from ser.corpora import demo
from ser.runtime.signals import ENDING, deferred
from ser.serving import samples
from ser.signal import audio, spoiling

SIGNAL = np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32)


class Told(Exception):
    """What the handlers of the test raise."""


@pytest.fixture(params=ENDING, ids=lambda number: number.name)
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal with a handler that raises."""

    def tell(*_: object) -> None:
        raise Told

    before = signal.signal(request.param, tell)
    yield request.param
    assert signal.signal(request.param, before) is tell, "the handler has been put back"


def struck(base: type, method: str, number: int, at: int) -> type:
    """A stream whose n-th call of a method sends the signal to this process, as if it came then."""

    class Struck(base):
        calls = 0

        def _count(self, *arguments):
            type(self).calls += 1
            if type(self).calls == at:
                signal.raise_signal(number)
            return getattr(super(), method)(*arguments)

    setattr(Struck, method, Struck._count)
    return Struck


def recording(kind: str) -> bytes:
    stored = io.BytesIO()
    soundfile.write(stored, SIGNAL, 16000, format=kind)
    return stored.getvalue()


@pytest.mark.parametrize("method", ["read", "readinto", "seek", "tell"])
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3"])
def test_it_ends_reading(number, kind, method):
    data = recording(kind)
    whole = sum(len(block) for block, _ in audio.blocks(io.BytesIO(data)))
    for at in (1, 2, 5):
        stream = struck(io.BytesIO, method, number, at)
        read = 0
        try:
            read = sum(len(block) for block, _ in audio.blocks(stream(data)))
        except Told:
            assert stream.calls >= at
        else:
            assert (read, stream.calls < at) == (whole, True), "lost"


@pytest.mark.parametrize("at", [1, 2, 5])
@pytest.mark.parametrize("method", ["write", "seek"])
@pytest.mark.parametrize("makes", ["mp3", "opus", "demo", "samples"])
def test_it_ends_writing(monkeypatch, number, makes, method, at):
    stream = struck(io.BytesIO, method, number, at)
    module, make = {
        "mp3": (spoiling, lambda: spoiling.coded(SIGNAL, 16000, "MP3", "MPEG_LAYER_III", 0.9)),
        "opus": (spoiling, lambda: spoiling.coded(SIGNAL, 16000, "OGG", "OPUS", 0.9)),
        "demo": (demo, lambda: demo._flac((SIGNAL * 20000).astype(np.int16))),
        "samples": (samples, lambda: samples.as_file(SIGNAL, 16000)),
    }[makes]
    monkeypatch.setattr(module.io, "BytesIO", stream)
    try:
        make()
    except Told:
        assert stream.calls >= at
    else:
        assert stream.calls < at, "lost"


def test_an_error_of_the_block_does_not_lose_it(number):
    def fails() -> None:
        with deferred():
            signal.raise_signal(number)
            raise ValueError("no recording")

    with pytest.raises(Told) as caught:
        fails()
    assert isinstance(caught.value.__context__, ValueError)


def test_ignored_signals_stay_ignored_and_other_threads_are_left_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)

    def elsewhere() -> None:
        with deferred():
            found.append(audio.read(recording("WAV"))[1])

    found: list[int] = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [16000]
