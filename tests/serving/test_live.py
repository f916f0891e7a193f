"""A live stream: each step is the offline answer for the same window, never far behind the voice, in memory that does not grow."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ser import SerError
from ser.serving import cli
from ser.serving.live import sources
from ser.serving.live import steps as live_steps
from ser.serving.live.buffer import AHEAD, Buffer
from ser.serving.live.command import Summary, line
from ser.serving.live.steps import Hysteresis, Settings, Step, steps
from ser.serving.predict import Predictor
from ser.serving.recogniser import Recogniser
from tests.serving import small

RATE = 16_000


def blocks(wave: np.ndarray, size: int = 1600) -> Iterator[np.ndarray]:
    """A wave, int16 (n,) or (n, channels), as a source."""
    shaped = wave if wave.ndim == 2 else wave[:, None]
    return (shaped[first : first + size] for first in range(0, len(shaped), size))


def pcm(*waves: np.ndarray) -> np.ndarray:
    return np.concatenate([(wave * 32767).astype(np.int16) for wave in waves])


# the buffer


def numbers(count: int, channels: int = 1) -> np.ndarray:
    """Samples of which each tells its place."""
    return np.repeat((np.arange(count) % 30_000).astype(np.int16)[:, None], channels, axis=1)


@pytest.mark.parametrize(("rate", "every", "window"), [(100, 1.0, 3.0), (100, 0.25, 0.25), (44_100, 0.3, 1.0), (7, 1 / 3, 2.5)])
@pytest.mark.parametrize("size", [1, 10, 33, 100_000])
def test_every_window_is_the_last_seconds(rate: int, every: float, window: float, size: int) -> None:
    buffer, given, ends = Buffer(rate, 2, window, every), numbers(5 * rate, 2), []
    size = max(size, rate // 100)
    for first in range(0, len(given), size):
        buffer.add(given[first : first + size], min(first + size, len(given)) / rate)
        while (one := buffer.next(buffer.seconds)) is not None:
            end = round(one.end * rate)
            ends.append(end)
            np.testing.assert_array_equal(one.samples, given[max(0, end - round(window * rate)) : end])
            assert not one.skipped
    expected = [round(number * every * rate) for number in range(1, 10_000)]
    assert ends == [end for end in expected if end <= len(given)]


def test_who_is_slower_than_the_voice_skips_to_the_newest_window() -> None:
    buffer, given, said = Buffer(10, 1, 3.0, 1.0), numbers(400), []
    for second in range(40):  # 2.5 s for each answer
        buffer.add(given[10 * second : 10 * second + 10], second + 1.0)
        if second % 5 in (0, 2) and (one := buffer.next(second + 1.0)) is not None:
            said.append((one.end, one.skipped))
            assert second + 1.0 - one.arrived <= 1.0
    assert buffer.live
    assert sum(skipped + 1 for _, skipped in said) == said[-1][0]
    assert all(0 <= skipped <= 3 for _, skipped in said)
    assert any(skipped for _, skipped in said)


def test_one_late_answer_skips_nothing() -> None:
    buffer = Buffer(10, 1, 3.0, 1.0)
    buffer.add(numbers(20), 2.0)
    assert [one.end for one in iter(lambda: buffer.next(2.9), None)] == [1.0, 2.0]


def test_what_is_faster_than_a_voice_waits_and_loses_nothing() -> None:
    buffer, given, ends, at = Buffer(10, 1, 3.0, 1.0), numbers(1000), [], 0
    while at < len(given):
        if buffer.full(10):
            one = buffer.next(100.0 + at)  # hours later, as it were
            assert one is not None
            ends.append((one.end, one.skipped))
            continue
        buffer.add(given[at : at + 10], at * 1e-4)
        at += 10
    buffer.ended = True
    ends += [(one.end, one.skipped) for one in iter(lambda: buffer.next(1e6), None)]
    assert not buffer.live
    assert ends == [(float(second), 0) for second in range(1, 101)]


@pytest.mark.parametrize("count", [0, 1, 5, 9])
def test_a_stream_shorter_than_its_first_window_is_judged_once_at_its_end(count: int) -> None:
    buffer = Buffer(10, 1, 3.0, 1.0)
    buffer.add(numbers(count), 0.1)
    assert buffer.next(0.1) is None
    buffer.ended = True
    found = [one.samples[:, 0].tolist() for one in iter(lambda: buffer.next(0.2), None)]
    assert found == ([list(range(count))] if count else [])


def test_what_was_overwritten_is_skipped_and_not_made_up() -> None:
    """A burst longer than the ring, which came before anybody knew that the source is not live."""
    buffer, given = Buffer(10, 1, 3.0, 1.0), numbers(500)
    buffer.add(given, 0.0)
    one = buffer.next(0.0)
    assert one is not None
    assert one.skipped > 0
    np.testing.assert_array_equal(one.samples, given[round(10 * one.end) - 30 : round(10 * one.end)])


def test_the_buffer_does_not_grow() -> None:
    buffer = Buffer(100, 1, 3.0, 1.0)
    block = numbers(10)
    sizes = set()
    for number in range(36_000):  # an hour
        buffer.add(block, number * 0.1)
        if number % 1000 == 999:
            sizes.add((buffer._ring.nbytes, len(buffer._arrivals)))
    assert len(sizes) == 1
    assert sizes.pop()[1] <= (3 + AHEAD + 1) * 10 + 1


# hysteresis


def told(hold: int, margin: float, given: Sequence[str]) -> list[str]:
    """What is shown: 'a6' is a window in which a has 60 % and the other of a and b has the rest; '-' is silence, '?' uncertain."""
    kept, shown = Hysteresis(hold, margin), []
    for one in given:
        if one == "-":
            kept.silence()
            shown.append("-")
            continue
        if one == "?":
            shown.append(kept.shown("uncertain", {"a": 0.5, "b": 0.5}))
            continue
        p = int(one[1]) / 10
        shown.append(kept.shown(one[0], {one[0]: p, "ab".replace(one[0], ""): 1 - p}))
    return shown


@pytest.mark.parametrize(
    ("hold", "margin", "given", "expected"),
    [
        (2, 0.3, "a6", "a"),
        (2, 0.3, "a6 b6", "a a"),
        (2, 0.3, "a6 b6 b6", "a a b"),
        (2, 0.3, "a6 b6 a6 b6 a6", "a a a a a"),
        (2, 0.3, "a6 b7", "a b"),
        (3, 1.0, "a6 b9 b9 b9", "a a a b"),
        (1, 1.0, "a6 b6 a6", "a b a"),
        (2, 0.3, "a6 - b6", "a - b"),
        (2, 0.3, "a6 b6 - b6", "a a - b"),
        (2, 0.3, "a6 ? ? b9", "a a uncertain uncertain"),
        (2, 0.3, "a6 ? a6", "a a a"),
    ],
)
def test_another_emotion_must_stay_or_lead_clearly(hold: int, margin: float, given: str, expected: str) -> None:
    assert told(hold, margin, given.split()) == expected.split()


# the stream


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2)])
def test_each_step_is_the_offline_answer_for_its_window(folder: Path, rate: int, channels: int) -> None:
    wave = pcm(small.sound(4, 0, rate), np.zeros(2 * rate), small.sound(3, 1, rate))
    wave = np.stack([wave] * channels, axis=1)
    found = list(steps(Predictor(folder), blocks(wave, rate // 10), Settings(rate, channels)))
    assert [step.end for step in found] == pytest.approx(range(1, 10))
    model, spoken = Recogniser(folder), 0
    for step in found:
        end = round(step.end * rate)
        if step.probabilities:
            spoken += 1
            offline = model.predict(wave[max(0, end - 3 * rate) : end], rate)
            assert step.probabilities == pytest.approx(offline.probabilities, abs=1e-6)
            assert step.leading == offline.emotion
    assert spoken >= 5
    assert [step.emotion for step in found][5] == ""  # the second second of the pause


@pytest.mark.parametrize(
    ("wave", "problem"),
    [
        (np.zeros(3 * RATE), ""),
        (1e-4 * np.random.default_rng(0).standard_normal(3 * RATE), ""),
        (np.sign(np.sin(np.arange(3 * RATE))), "clipped: "),
    ],
)
def test_what_is_no_speech_is_not_judged(folder: Path, wave: np.ndarray, problem: str) -> None:
    found = list(steps(Predictor(folder), blocks(pcm(wave)), Settings(RATE)))
    assert not any(step.probabilities or step.emotion for step in found[1:])  # the detector takes the first moment of noise for speech
    assert found[-1].problem.startswith(problem)
    assert bool(found[-1].problem) == bool(problem)


def test_a_speaker_is_known_in_the_stream(folder: Path) -> None:
    model, wave = Recogniser(folder), pcm(small.sound(2, 0))
    profile = model.enroll([small.sound(1, seed) for seed in range(4)], ["sad"] * 4, RATE).profile
    found = list(steps(Predictor(folder).knowing(profile), blocks(wave), Settings(RATE)))
    assert found[-1].probabilities == pytest.approx(model.predict(wave, RATE, speaker=profile).probabilities, abs=1e-6)


@pytest.mark.parametrize("count", [0, 100, RATE // 2])
def test_a_short_stream_ends(folder: Path, count: int) -> None:
    found = list(steps(Predictor(folder), blocks(pcm(small.sound(1))[:count]), Settings(RATE)))
    assert [bool(step.probabilities) for step in found] == {0: [], 100: [False], RATE // 2: [True]}[count]


@pytest.mark.parametrize("asked", [{"every": 0.01}, {"every": 4.0}, {"window": 61.0}, {"every": float("nan")}])
def test_what_is_out_of_range_is_refused(folder: Path, asked: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="every"):
        steps(Predictor(folder), blocks(pcm(small.sound(1))), Settings(RATE, **asked))


def test_what_a_source_raises_arrives_after_the_answers_before_it(folder: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from blocks(pcm(small.sound(2)))
        raise SerError("the microphone is gone")

    found = steps(Predictor(folder), failing(), Settings(RATE))
    assert [next(found).end, next(found).end] == [1.0, 2.0]
    with pytest.raises(SerError, match="is gone"):
        next(found)


def test_slow_answers_skip_windows_and_say_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound that comes with the clock; the first answers take until five seconds more have come."""
    heard, wanted, reached, original = 0, [5, 10], threading.Event(), live_steps.judged

    def source() -> Iterator[np.ndarray]:
        nonlocal heard
        for block in blocks(pcm(small.sound(20)), RATE):
            heard += 1
            if wanted and heard == wanted[0]:
                reached.set()
                waiting.wait(60)
                waiting.clear()
            yield block

    waiting = threading.Event()

    def slow(*given: object) -> object:
        if wanted:
            reached.wait(60)
            reached.clear()
            wanted.pop(0)
            waiting.set()
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(live_steps, "judged", slow)
    found = list(steps(Predictor(folder), source(), Settings(RATE), clock=lambda: float(heard)))
    assert sum(step.skipped for step in found) > 0
    assert sum(step.skipped + 1 for step in found) == found[-1].end == 20


def test_nobody_reads_on_when_nobody_listens(folder: Path) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield np.zeros((RATE // 10, 1), dtype=np.int16)

    found = steps(Predictor(folder), endless(), Settings(RATE))
    next(found)
    found.close()
    deadline = time.monotonic() + 30
    while any(isinstance(thread, live_steps._Reader) for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(isinstance(thread, live_steps._Reader) for thread in threading.enumerate())


# where sound comes from


class Dripping(io.RawIOBase):
    """A pipe that gives as many bytes at a time as the list says, over and over."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes, self._turn = io.BytesIO(data), sizes, 0

    def read(self, most: int = -1) -> bytes:
        self._turn += 1
        return self._data.read(min(most, self._sizes[self._turn % len(self._sizes)]))


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("sizes", [[1], [3, 1, 7], [100_000]])
@pytest.mark.parametrize("count", [0, 1, 1000, 40_000])
def test_raw_samples_in_any_portions(channels: int, sizes: list[int], count: int) -> None:
    if sizes == [1]:
        count = min(count, 1000)
    given = np.random.default_rng(0).integers(-32768, 32767, (count, channels), dtype=np.int16)
    found = list(sources.raw(Dripping(given.astype("<i2").tobytes() + b"\x01", sizes), channels))
    whole = np.concatenate(found) if found else np.zeros((0, channels), dtype=np.int16)
    np.testing.assert_array_equal(whole, given)


class PortAudioError(Exception):
    pass


def test_a_standard_input_that_cannot_be_read_is_called_that(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ser", "listen", "--bundle", str(folder), "--stdin"]
    with open(tmp_path / "written", "wb") as write_only:
        done = subprocess.run(command, stdin=write_only, capture_output=True, cwd=small.ROOT, timeout=120)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "error: standard input cannot be read: Bad file descriptor"


def fake(opening: object) -> types.ModuleType:
    module = types.ModuleType("sounddevice")
    module.InputStream, module.PortAudioError = opening, PortAudioError  # type: ignore[attr-defined]
    return module


class Microphone:
    """Calls back with two blocks, as PortAudio does from a thread of its own."""

    def __init__(self, *, callback, blocksize: int, channels: int, **how: object) -> None:
        self.how = how
        for value in (1, 2):
            callback(np.full((blocksize, channels), value, dtype=np.int16), blocksize, None, None)

    def __enter__(self) -> Microphone:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", fake(Microphone))
    monkeypatch.setattr(sources, "PATIENCE", 0.01)
    found = sources.microphone(16_000, 2, "3")
    assert [next(found)[0].tolist() for _ in range(2)] == [[1, 1], [2, 2]]
    with pytest.raises(SerError, match="gave no sound"):
        next(found)


def refuse(error: Exception):
    def opening(**how: object) -> None:
        raise error

    return opening


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (None, r"pip install 'ser\[mic\]'"),
        (fake(refuse(PortAudioError("Error querying device -1"))), "no sound from the microphone .*querying device -1"),
        (fake(refuse(ValueError("No input device matching 'x'"))), "No input device matching"),
    ],
)
def test_without_a_microphone_one_message(
    folder: Path, monkeypatch: pytest.MonkeyPatch, module: types.ModuleType | None, says: str
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    with pytest.raises(SystemExit) as end:
        cli.main(["listen", "--bundle", str(folder)])
    with pytest.raises(SerError, match=says):
        next(sources.microphone(16_000, 1, None))
    assert str(end.value.code).startswith("error: ")


def test_without_portaudio_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr(sources.importlib, "import_module", missing)
    with pytest.raises(SerError, match=r"PortAudio library not found.*libportaudio2"):
        next(sources.microphone(16_000, 1, None))


# the command


def listening(folder: Path, *given: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ser", "listen", "--bundle", str(folder), *given]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=small.ROOT)


def test_a_file_faster_than_real_time_is_judged_whole(folder: Path) -> None:
    wave = pcm(*(small.sound(5, seed) for seed in range(8)))
    out, err = listening(folder, "--stdin", "--rate", "16000", "--jsonl").communicate(wave.tobytes(), timeout=120)
    entries = [json.loads(one) for one in out.splitlines()]
    assert [entry["time"] for entry in entries] == list(range(1, 41))
    assert not any(entry["skipped"] for entry in entries)
    assert entries[-1]["latency"] is None
    model = Recogniser(folder)
    for entry in entries[::7]:
        end = round(entry["time"] * RATE)
        offline = model.predict(wave[max(0, end - 3 * RATE) : end], RATE).probabilities
        assert entry["probabilities"] == pytest.approx(offline, abs=1e-3)
    assert b"40 windows judged" in err
    assert b"faster than a live one" in err


def test_real_time_until_ctrl_c(folder: Path) -> None:
    """A voice that comes as fast as it is spoken, and an interrupt while the pipe is open."""
    process, wave = listening(folder, "--stdin", "--every", "0.5"), pcm(small.sound(3))
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    while not process.stderr.readline().startswith(b"listening"):
        pass
    for block in blocks(wave, RATE // 20):
        process.stdin.write(block.tobytes())
        process.stdin.flush()
        time.sleep(0.05)
    lines: list[str] = []
    while not lines or not lines[-1].startswith("00:03.0"):  # a busy machine may skip some, but never the newest
        lines.append(process.stdout.readline().decode())
        assert lines[-1]
    process.send_signal(signal.SIGINT)
    err = process.stderr.read().decode()
    assert process.wait(timeout=60) == 0
    times = [one.split()[0] for one in lines]
    assert times == sorted(times)
    assert set(times) <= {"00:00.5", "00:01.0", "00:01.5", "00:02.0", "00:02.5", "00:03.0"}
    assert lines[-1].rstrip().endswith("%")
    assert f"3.0 s heard, {len(lines)} windows judged" in err
    assert "latency" in err
    assert "Traceback" not in err
    process.stdin.close()
    process.stdout.close()
    process.stderr.close()


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--stdin", "--device", "x"], "choose one of the two"),
        (["--stdin"], "reads a pipe"),
        (["--stdin", "--every", "5"], "every 5 and window 3"),
        (["--stdin", "--speaker", "nobody-here"], "no speaker nobody-here"),
        (["--rate", "1"], "2"),
        (["--rate", "nan"], "2"),
        (["--channels", "0"], "2"),
        (["--hold", "0"], "2"),
        (["--margin", "2"], "2"),
        (["--window", "x"], "2"),
    ],
)
def test_wrong_arguments_are_one_message(folder: Path, given: list[str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Terminal()))
    with pytest.raises(SystemExit) as end:
        cli.main(["listen", "--bundle", str(folder), *given])
    assert says in str(end.value.code)


def step(emotion: str, latency: float | None = 0.25, skipped: int = 0, problem: str = "") -> Step:
    p = {"happy": 0.75, "sad": 0.25} if emotion else {}
    return Step(3725.0, emotion, emotion, p, problem, latency, 0.05, skipped)


def test_lines() -> None:
    assert line(step("sad"), False) == "62:05.0  sad         █████···············  25.0%\n"
    assert line(step("uncertain"), False).split() == ["62:05.0", "uncertain", "███████████████·····", "75.0%"]
    assert line(step(""), False) == "62:05.0  silence\n"
    assert line(step("", problem="clipped: \x1b"), False) == "62:05.0  clipped: \\x1b\n"
    entry = json.loads(line(step("", None), True))
    assert (entry["emotion"], entry["leading"], entry["latency"], entry["probabilities"]) == (None, None, None, {})


def test_the_summary() -> None:
    summary, settings = Summary(), Settings(RATE)
    assert summary.text(settings) == "nothing was heard"
    for one in (step("sad"), step("sad", 0.75, 2), step("sad", 0.5)):
        summary.count(one)
    assert summary.text(settings) == (
        "3725.0 s heard, 3 windows judged in 50 ms each (median); latency 0.50 s, at most 0.75 s; "
        "2 windows skipped, because answers were slower than one in 1 s"
    )
    summary.count(step("sad", None))
    assert "no latency" in summary.text(settings)
    for _ in range(25_000):
        summary.count(step("sad"))
    assert len(summary._judging) <= 10_000
