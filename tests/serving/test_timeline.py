"""Emotion over time: each step is the model's own answer for its window, only where there is speech; and all forms of it."""

from __future__ import annotations

import csv
import io
import itertools
import json
import subprocess
import sys
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ser import SerError
from ser.serving import cli
from ser.serving.predict import Predictor
from ser.serving.recogniser import Recogniser
from ser.serving.timeline import text
from ser.serving.timeline.moments import Moment, Timeline
from ser.serving.timeline.picture import draw, svg
from tests.serving import small

RATE = 16_000


@pytest.fixture(scope="module")
def model(folder: Path) -> Recogniser:
    return Recogniser(folder)


def spoken() -> np.ndarray:
    """4 s of voice, 3 s of near silence, 3 s of another voice."""
    pause = 0.0002 * np.random.default_rng(1).standard_normal(3 * RATE)
    return np.concatenate([small.sound(4, 0), pause, small.sound(3, 1)])


@pytest.fixture(scope="module")
def found(model: Recogniser) -> Timeline:
    return model.timeline(spoken(), RATE, smooth=0)


def test_steps_cover_the_recording_and_silence_is_not_judged(found: Timeline) -> None:
    assert found.seconds == pytest.approx(10)
    assert [moment.start for moment in found.moments] == pytest.approx(np.arange(0, 10, 0.5))
    assert found.moments[-1].end == pytest.approx(10)
    judged = {moment.start for moment in found.moments if moment.probabilities}
    assert {1.0, 2.0, 8.0, 9.0} <= judged
    assert not {5.0, 5.5, 6.0} & judged
    assert all(sum(moment.probabilities.values()) == pytest.approx(1) for moment in found.moments if moment.probabilities)
    assert len(found.speech) >= 2
    assert len(found.peaks) == 100


def test_a_step_is_the_models_answer_for_its_window(found: Timeline, folder: Path) -> None:
    predictor = Predictor(folder)
    moment = next(one for one in found.moments if one.start == 2.0)
    middle = (moment.start + moment.end) / 2
    window = spoken()[round((middle - 1.5) * RATE) : round((middle + 1.5) * RATE)]
    alone = predictor.recording("", lambda: small.wav(window))
    assert list(moment.probabilities.values()) == pytest.approx(list(alone.probabilities.values()), abs=0.02)


@pytest.mark.parametrize(("smooth", "reach"), [(1.5, 1), (10.0, 10)])
def test_smoothing_is_a_mean_within_a_run_of_speech(found: Timeline, model: Recogniser, smooth: float, reach: int) -> None:
    """Also where it reaches further than the silence between two voices is long."""
    smoothed = model.timeline(spoken(), RATE, smooth=smooth)
    raw = [list(moment.probabilities.values()) for moment in found.moments]
    for place, moment in enumerate(smoothed.moments):
        if not raw[place]:
            assert not moment.probabilities
            continue
        run = list(range(place + 1))[::-1], list(range(place, len(raw)))
        near = {at for side in run for at in itertools.takewhile(lambda at: raw[at], side) if abs(at - place) <= reach}
        assert list(moment.probabilities.values()) == pytest.approx(np.mean([raw[one] for one in near], axis=0).tolist())


@pytest.mark.parametrize("asked", [{"hop": 0.0}, {"hop": 4.0}, {"window": 0.01, "hop": 0.01}, {"smooth": -1.0}, {"window": 1000.0}])
def test_what_is_out_of_range_is_refused(model: Recogniser, asked: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"hop|window"):
        model.timeline(spoken(), RATE, **asked)


def test_uncertain_moments_are_stretches_of_their_own(folder: Path) -> None:
    unsure = Recogniser(folder, min_confidence=1.0).timeline(spoken(), RATE)
    assert {one.emotion for one in unsure.stretches()} == {"uncertain"}


MADE = Timeline(
    "=a<b.wav", 3661.5, 3.0, 0.5, 1.5, ("happy", "sad"),
    (
        Moment(0.0, 0.5, {"happy": 0.75, "sad": 0.25}, "happy"), Moment(0.5, 1.0, {"happy": 0.25, "sad": 0.75}, "sad"),
        Moment(1.0, 1.5, {}, ""), Moment(3661.0, 3661.5, {"happy": 0.25, "sad": 0.75}, "sad"),
    ),
    ((0.0, 1.0), (3661.0, 3661.5)), (0.5, 0.25, 0.0),
)  # fmt: skip


def test_all_forms_of_text() -> None:
    assert text.as_table(MADE) == (
        "      00:00.0–00:00.5  happy  75.0%\n      00:00.5–00:01.0  sad    75.0%\n  1:01:01.0–1:01:01.5  sad    75.0%\n"
    )
    assert text.as_srt(MADE).split("\n\n")[2] == "3\n01:01:01,000 --> 01:01:01,500\nsad 75%\n"
    assert text.as_labels(MADE).splitlines()[0] == "0.000000\t0.500000\thappy"
    rows = list(csv.DictReader(io.StringIO(text.as_csv(MADE))))
    assert [row["emotion"] for row in rows] == ["happy", "sad", "", "sad"]
    assert (rows[0]["path"], rows[0]["p_happy"], rows[2]["p_happy"]) == ("'=a<b.wav", "0.75", "")
    entry = json.loads(json.dumps(text.as_entry(MADE)))
    assert [one["emotion"] for one in entry["stretches"]] == ["happy", "sad", "sad"]
    assert text.as_table(replace(MADE, moments=())) == "  no speech found\n"


def test_the_pictures_are_whole(found: Timeline, tmp_path: Path) -> None:
    for one in (found, MADE, replace(MADE, moments=(), speech=(), peaks=())):
        xml.etree.ElementTree.fromstring(svg(one))
    draw(MADE, tmp_path / "x.html", "a <model>")
    page = (tmp_path / "x.html").read_text()
    assert "a &lt;model&gt;" in page
    assert "=a&lt;b.wav" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    draw(found, tmp_path / "x.png", "")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    for name, says in (("x.gif", "must end in"), ("nowhere/x.html", "there is no folder")):
        with pytest.raises(SerError, match=says):
            draw(found, tmp_path / name, "")


def test_the_command_prints_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    sf.write("x.wav", spoken(), RATE)
    for form, says in (
        ([], "x.wav  10.0 s\n"),
        (["--srt"], "00:00:00,"),
        (["--labels"], "\t"),
        (["--csv"], "path,start,"),
        (["--json"], "{"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["predict", "x.wav", "--bundle", str(folder), "--timeline", *form])
        assert end.value.code == 0
        assert says in capsys.readouterr().out
    for wrong, says in (
        (["--srt"], "add --timeline"),
        (["--timeline", "--hop", "9"], "hop 9"),
        (["--timeline", "--one-speaker"], "choose one"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["predict", "x.wav", "--bundle", str(folder), *wrong])
        assert says in str(end.value.code)


@pytest.mark.parametrize(
    ("error", "status", "kept"),
    [
        (KeyboardInterrupt(), 130, ["a.wav"]),
        (ValueError("hop 9"), "error: --timeline: hop 9", ["a.wav"]),
        (SerError("the model fails"), 1, ["a.wav", "c.wav"]),  # on this recording
        (OSError(5, "Input/output error"), 1, ["a.wav", "c.wav"]),
    ],
)
@pytest.mark.parametrize("form", ["--json", "--jsonl", "--csv"])
def test_what_was_done_is_kept(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: object,
    kept: list[str],
    form: str,
) -> None:
    def failing(predictor: Predictor, path: str, *given: object) -> Timeline:
        if path == "b.wav":
            raise error
        return replace(MADE, path=path)

    monkeypatch.setattr("ser.serving.timeline.command.timeline", failing)
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav", "c.wav"):
        Path(name).touch()
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", "a.wav", "b.wav", "c.wav", "--bundle", str(folder), "--timeline", form])
    assert end.value.code == status
    out = capsys.readouterr().out
    if form == "--csv":
        paths = [row["path"] for row in csv.DictReader(io.StringIO(out))]
    else:
        entries = json.loads(out)["timelines"] if form == "--json" else map(json.loads, out.splitlines())
        paths = [entry["path"] for entry in entries]
    assert list(dict.fromkeys(paths)) == kept


@pytest.mark.slow
def test_an_hour_needs_little_memory(folder: Path, tmp_path: Path) -> None:
    """Ten minutes at 48 kHz stereo take no more memory than five, which are one part."""
    peaks = []
    for minutes in (5, 10):
        sf.write(tmp_path / "long.wav", np.tile(small.sound(10, rate=48_000)[:, None], (minutes * 6, 2)), 48_000, "PCM_16")
        code = (
            "import resource, sys; from ser import load; load(sys.argv[1]).predict(sys.argv[2]);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
        )
        done = subprocess.run([sys.executable, "-c", code, folder, tmp_path / "long.wav"], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] + 60


def test_a_long_recording_is_the_mean_of_its_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ser.serving import predict
    from ser.signal import stream

    monkeypatch.setattr(predict, "parts", lambda file, settings, minutes: stream.parts(file, settings, minutes, 3.0))
    predictor = Predictor(folder)
    waves = [small.sound(3, 0), small.sound(1.5, 1)]
    alone = [predictor.recording("", lambda wave=wave: small.wav(wave)) for wave in waves]
    both = predictor.recording("x", lambda: small.wav(np.concatenate(waves)))
    weights = [one.speech_seconds for one in alone]
    expected = np.average([list(one.probabilities.values()) for one in alone], axis=0, weights=weights)
    assert list(both.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert both.seconds == pytest.approx(4.5)
    assert weights[0] > 1.5 * weights[1]
