from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from fixtures.archives import pack, voices

from ser import SerError
from ser.params import Params, load
from ser.params.corpora import Corpus
from ser.params.preprocess import Preprocess
from ser.runtime.reading import read_csv
from ser.signal import audio, clips, preprocessing
from ser.views import extraction, features
from tests.runtime.test_workers import cluster

ROOT = Path(__file__).parents[2]
PARAMS: Params = load(ROOT / "params.yaml")
RUNTIME = PARAMS.runtime.model_copy(update={"workers": 1})
RATE = PARAMS.preprocess.sample_rate


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SER_WORKERS", raising=False)


def settings(**changes) -> Preprocess:
    """The project's own preprocessing with changes; those of VAD begin with vad_."""
    values = PARAMS.preprocess.model_dump()
    for key, value in changes.items():
        section, key = (values["vad"], key.removeprefix("vad_")) if key.startswith("vad_") else (values, key)
        assert key in section
        section[key] = value
    return Preprocess.model_validate(values)


TASK = {1: "neutral", 3: "happy", 4: "sad", 5: "angry", 6: "fearful"}
DEMO = PARAMS.corpora["demo"]
CORPUS: Corpus = DEMO.model_copy(update={"labels": DEMO.labels.model_copy(update={"classes": list(TASK.values())})})
"""The demo without surprise."""


def spoken(number: int, lead: float = 0.5) -> np.ndarray:
    """A sentence in silence, with a faint noise of its own."""
    silence = np.zeros(int(lead * RATE))
    signal = np.concatenate([silence, voices()[number], silence])
    return signal + 1e-4 * np.random.default_rng(number).standard_normal(len(signal))


def recording(signal: np.ndarray, rate: int = RATE, kind: str = "FLAC", subtype: str = "PCM_16") -> bytes:
    stream = io.BytesIO()
    sf.write(stream, clips.to_int16(signal) if subtype == "PCM_16" else signal, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def member(emotion: int, actor: int, take: int = 1) -> str:
    return f"Actor_{actor:02}/03-01-{emotion:02}-01-01-{take:02}-{actor:02}.wav"


def raw(folder: Path, members: dict[str, bytes], archives: int = 1) -> Path:
    """A download of these members, spread over archives in turn."""
    names = [f"part{i}.zip" for i in range(archives)]
    for i, name in enumerate(names):
        pack(folder / name, dict(list(members.items())[i::archives]))
    (folder / "source.json").write_text(
        json.dumps({"corpus": "demo", "edition": "official", "archives": [{"name": name} for name in names]})
    )
    return folder


def good(count: int = 24) -> dict[str, bytes]:
    return {member(list(TASK)[i % 5], 1 + i // 5): recording(spoken(i)) for i in range(count)}


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rejected(folder: Path) -> dict[str, tuple[str, str]]:
    with open(folder / "rejected.csv", encoding="utf-8", newline="") as file:
        return {row["path"]: (row["reason"], row["detail"]) for row in csv.DictReader(file)}


BROKEN = {
    member(1, 20): (b"RIFF not really", "unreadable"),
    member(3, 20): (b"", "unreadable"),
    member(4, 20): (recording(np.zeros(0), kind="WAV"), "empty"),
    member(5, 20): (recording(voices()[0][:800]), "too_short"),
    member(6, 20): (recording(np.zeros(RATE)), "silent"),
    member(3, 22): (recording(np.stack([voices()[0], -voices()[0]], 1)), "silent"),
    member(1, 21): (recording(np.where(np.arange(RATE) == 9, np.nan, 0.1), kind="WAV", subtype="FLOAT"), "nonfinite"),
    member(3, 21): (recording(np.sign(voices()[1])), "clipped"),
    member(8, 21): (recording(spoken(30)), "class_not_in_task"),
    member(9, 21): (recording(spoken(30)), "unknown_emotion"),
    "Actor_21/notes.txt": (b"nothing", "not_audio"),
    "Actor_21/03-02-01-01-01-01.wav": (recording(spoken(30)), "irregular_name"),
    member(5, 1, 2): (recording(spoken(3)), "duplicate"),  # of actor 1's angry clip
    member(5, 1, 3): (recording(spoken(3), kind="WAV"), "duplicate"),  # packed in another way, same audio
}


def test_everything_found_is_kept_or_rejected_for_a_reason(tmp_path):
    members = good() | {name: data for name, (data, _) in BROKEN.items()}
    summary = preprocessing.build("demo", CORPUS, raw(tmp_path / "raw", members), tmp_path / "clips", settings(max_rejected=0.5), RUNTIME)
    table, left_out = clips.read_table(tmp_path / "clips"), rejected(tmp_path / "clips")
    assert {name: reason for name, (reason, _) in left_out.items()} == {name: reason for name, (_, reason) in BROKEN.items()}
    assert all(detail for _, detail in left_out.values())
    assert list(table["clip"]) == sorted(good())
    assert summary["files_found"] == len(members) == len(table) + len(left_out)
    assert summary["kept"] == 24
    assert summary["rejected"] == {
        "class_not_in_task": 1, "clipped": 1, "duplicate": 2, "empty": 1, "irregular_name": 1, "nonfinite": 1,
        "not_audio": 1, "silent": 2, "too_short": 1, "unknown_emotion": 1, "unreadable": 2,
    }  # fmt: skip
    assert list(left_out) == sorted(left_out)
    assert json.loads((tmp_path / "clips" / "summary.json").read_text()) == summary


@pytest.mark.parametrize("name", ["Actor_21/a\rb.wav", "Actor_21/a\nb.wav", 'Actor_21/a"b.wav', "Actor_21/a,b.txt", "Actor_21/\r\n.txt"])
def test_what_is_rejected_can_be_read_whatever_its_name(tmp_path, name):
    source = raw(tmp_path / "raw", good() | {name: recording(spoken(30))})
    summary = preprocessing.build("demo", CORPUS, source, tmp_path / "clips", settings(max_rejected=0.5), RUNTIME)
    assert list(rejected(tmp_path / "clips")) == [name]
    table = read_csv(tmp_path / "clips/rejected.csv", "preprocess", "demo", {"path": "str", "reason": "str", "detail": "str"})
    assert list(table["path"]) == [name]
    assert len(clips.read_table(tmp_path / "clips")) == summary["kept"] == 24


def test_store_holds_the_clips_back_to_back(tmp_path):
    folder = tmp_path / "clips"
    preprocessing.build("demo", CORPUS, raw(tmp_path / "raw", good(12), archives=2), folder, settings(), RUNTIME)
    store = clips.read(folder, RATE)
    assert store.audio.dtype == np.int16
    assert list(store.table.columns) == list(clips.COLUMNS)
    assert {column: str(kind) for column, kind in store.table.dtypes.items()} == {
        column: {"string": "string", "int64": "int64", "float64": "float64", "bool": "bool"}[kind] for column, kind in clips.COLUMNS.items()
    }
    np.testing.assert_array_equal(store.table["offset"], np.cumsum([0, *store.table["samples"]])[:-1])
    assert len(store.audio) == store.table["samples"].sum()
    packed = good(12)
    for row in range(len(store)):
        prepared = preprocessing.prepare(packed[store.table["clip"][row]], settings())
        np.testing.assert_array_equal(store.signal(row), clips.to_float(prepared.pcm))
        assert store.table["source_seconds"][row] == pytest.approx(2.0)
        assert store.table["removed"][row] == pytest.approx(1 - len(prepared.pcm) / (2 * RATE), abs=1e-6)
        assert store.table["content"][row] == prepared.content
    assert store.table["snr_db"].between(20, 80).all()
    assert set(store.table["speaker"]) == {"01", "02", "03"}
    np.save(tmp_path / "again.npy", np.array(store.audio))
    assert (tmp_path / "again.npy").read_bytes() == (folder / "audio.npy").read_bytes()


def test_same_bytes_again_from_two_processes_and_whatever_the_order_in_the_archive(tmp_path):
    members = good() | {member(1, 23, take): recording(spoken(50 + take)) for take in range(1, 9)}
    outcomes = []
    for run, (workers, order) in enumerate([(1, 1), (1, 1), (2, 1), (1, -1)]):
        source = raw(tmp_path / f"raw{run}", dict(list(members.items())[::order]))
        preprocessing.build("demo", CORPUS, source, tmp_path / str(run), settings(), RUNTIME.model_copy(update={"workers": workers}))
        outcomes.append(written(tmp_path / str(run)))
    assert set(outcomes[0]) == {"audio.npy", "clips.csv", "rejected.csv", "summary.json"}
    for outcome in outcomes[1:]:
        assert outcome == outcomes[0]


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="distributed, an optional package, is not installed")
def test_same_bytes_from_a_dask_cluster(tmp_path):
    source = raw(tmp_path / "raw", good(), archives=2)
    with cluster(tmp_path) as runtime:
        for name, how in (("here", RUNTIME), ("there", runtime)):
            preprocessing.build("demo", CORPUS, source, tmp_path / name / "clips", settings(), how)
            extraction.build(tmp_path / name / "clips", tmp_path / name / "features", RATE, PARAMS.features, how)
    for kind in ("clips", "features"):
        assert written(tmp_path / "here" / kind) == written(tmp_path / "there" / kind)


@pytest.mark.parametrize(("keep", "shorter"), [("trim", True), ("concatenate", True), ("mask", False)])
def test_what_vad_decides_reaches_the_features(tmp_path, keep, shorter):
    source = raw(tmp_path / "raw", good(6))
    views = {}
    for method in ("webrtc", "none"):
        preprocessing.build("demo", CORPUS, source, tmp_path / f"clips-{method}", settings(vad_method=method, vad_keep=keep), RUNTIME)
        extraction.build(tmp_path / f"clips-{method}", tmp_path / f"features-{method}", RATE, PARAMS.features, RUNTIME)
        views[method] = features.read(tmp_path / f"features-{method}", PARAMS.features)
    lengths = {method: np.diff(one.offsets) for method, one in views.items()}
    if shorter:
        assert (lengths["webrtc"] < lengths["none"] - 10).all()  # half a second of silence on both sides
    else:
        np.testing.assert_array_equal(lengths["webrtc"], lengths["none"])
        floor = PARAMS.features.log_mel.floor_db
        assert (views["webrtc"].clip(0)["log_mel"][:5] == floor).all()
        assert not (views["none"].clip(0)["log_mel"][:5] == floor).all()


def test_a_clip_without_speech_is_kept_whole_and_marked(tmp_path):
    click = np.zeros(RATE)
    click[8000:8010] = 0.5  # shorter than min_speech_ms, so no speech
    members = good(6) | {member(1, 9): recording(click)}
    summary = preprocessing.build(
        "demo", CORPUS, raw(tmp_path / "raw", members), tmp_path / "clips", settings(vad_method="energy"), RUNTIME
    )
    row = clips.read_table(tmp_path / "clips").set_index("clip").loc[member(1, 9)]
    assert row["no_speech"]
    assert row["samples"] == RATE
    assert row["removed"] == 0
    assert np.isnan(row["snr_db"])
    assert summary["vad"]["by_emotion"]["neutral"]["no_speech"] == summary["vad"]["all"]["no_speech"] == 1


def test_summary_says_what_vad_took_from_whom(tmp_path):
    members = {member(1, 1): recording(spoken(0, lead=2.0)), member(3, 1): recording(spoken(1, lead=0.0))}
    summary = preprocessing.build("demo", CORPUS, raw(tmp_path / "raw", members), tmp_path / "clips", settings(), RUNTIME)
    shares = summary["vad"]["by_emotion"]
    assert list(shares) == ["happy", "neutral"]
    assert shares["neutral"]["removed"] > 0.7
    assert shares["happy"]["removed"] < 0.3
    table = clips.read_table(tmp_path / "clips")
    removed = (table["removed"] * table["source_seconds"]).sum() / table["source_seconds"].sum()
    assert summary["vad"]["all"]["removed"] == pytest.approx(removed, abs=1e-5)
    assert summary["vad"]["by_channel"] == {"speech": summary["vad"]["all"]}
    assert (summary["edition"], summary["label_edition"], summary["vad"]["method"]) == ("official", "official", "webrtc")


def test_too_many_faults_fail_and_leave_the_former_store(tmp_path):
    faulty = good(10) | {member(1, 20): b"broken", member(3, 20): b"broken"}
    source = raw(tmp_path / "raw", faulty)
    preprocessing.build("demo", CORPUS, raw(tmp_path / "whole", good(10)), tmp_path / "clips", settings(), RUNTIME)
    before = written(tmp_path / "clips")
    with pytest.raises(
        SerError, match=r"2 of 12 recordings are faulty \(unreadable 2\); preprocess.max_rejected allows 16%(.|\n)*Actor_20"
    ):
        preprocessing.build("demo", CORPUS, source, tmp_path / "clips", settings(max_rejected=0.16), RUNTIME)
    assert written(tmp_path / "clips") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "raw", "whole"]
    assert preprocessing.build("demo", CORPUS, source, tmp_path / "clips", settings(max_rejected=0.17), RUNTIME)["kept"] == 10


def test_doubles_and_other_classes_are_no_faults(tmp_path):
    members = good(4) | {member(1, 1, 2 + i): recording(spoken(0)) for i in range(8)} | {member(8, 20 + i): b"x" for i in range(4)}
    source = raw(tmp_path / "raw", members)
    summary = preprocessing.build("demo", CORPUS, source, tmp_path / "clips", settings(max_rejected=0.0), RUNTIME)
    assert summary["rejected"] == {"class_not_in_task": 4, "duplicate": 8}
    assert rejected(tmp_path / "clips")[member(1, 1, 2)] == ("duplicate", f"same audio as {member(1, 1)}")
    kept = preprocessing.build("demo", CORPUS, source, tmp_path / "clips", settings(max_rejected=0.0, deduplicate=False), RUNTIME)
    assert kept["kept"] == 12


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (member(5, 1), r"same audio as {first}, which is 'neutral', not 'angry'"),
        (member(1, 9), r"same audio as {first}, whose speaker is '01', not '09'"),
    ],
    ids=["two labels", "two speakers"],
)
def test_the_same_recording_under_two_labels_or_speakers_is_left_out_under_both(tmp_path, other, said):
    first = member(1, 1)
    members = {first: recording(spoken(0)), other: recording(spoken(0)), **{member(3, 2 + i): recording(spoken(2 + i)) for i in range(3)}}
    summary = preprocessing.build("demo", CORPUS, raw(tmp_path / "raw", members), tmp_path / "clips", settings(max_rejected=0.5), RUNTIME)
    assert (summary["kept"], summary["rejected"]) == (3, {"contradictory": 2})
    found = rejected(tmp_path / "clips")
    assert found[other] == ("contradictory", said.format(first=first))
    assert found[first][0] == "contradictory"
    assert other in found[first][1]
    store = clips.read(tmp_path / "clips", RATE)
    assert sorted(store.table["clip"]) == sorted(members.keys() - {first, other})
    for row in range(3):
        expected = preprocessing.prepare(members[store.table["clip"][row]], settings()).pcm
        np.testing.assert_array_equal(clips.to_int16(store.signal(row)), expected)
    with pytest.raises(SerError, match="contradictory 2"):
        preprocessing.build("demo", CORPUS, raw(tmp_path / "raw", members), tmp_path / "clips", settings(max_rejected=0.1), RUNTIME)


def test_doubles_are_told_before_vad(tmp_path):
    signal = spoken(0)
    padded = np.concatenate([np.zeros(RATE), signal])  # after trimming much the same
    members = {member(1, 1): recording(signal), member(1, 2): recording(padded)}
    assert preprocessing.build("demo", CORPUS, raw(tmp_path / "raw", members), tmp_path / "clips", settings(), RUNTIME)["kept"] == 2


def test_a_damaged_member_is_rejected_and_the_rest_is_read(tmp_path):
    source = raw(tmp_path / "raw", good(24))
    with zipfile.ZipFile(source / "part0.zip") as packed:
        start = packed.getinfo(member(3, 1)).header_offset
    data = bytearray((source / "part0.zip").read_bytes())
    data[start + 2000 : start + 2100] = bytes(100)
    (source / "part0.zip").write_bytes(data)
    summary = preprocessing.build("demo", CORPUS, source, tmp_path / "clips", settings(), RUNTIME)
    assert (summary["kept"], summary["rejected"]) == (23, {"damaged": 1})


def test_nothing_left_is_an_error(tmp_path):
    with pytest.raises(SerError, match="1 of 1 recordings are faulty"):
        preprocessing.build(
            "demo", CORPUS, raw(tmp_path / "raw", {member(1, 1): b"x"}), tmp_path / "clips", settings(max_rejected=1.0), RUNTIME
        )
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_prepared_signal_is_the_recording_at_the_working_rate(rate):
    spoken_here = spoken(0)
    data = recording(np.interp(np.arange(2 * rate) / rate, np.arange(len(spoken_here)) / RATE, spoken_here), rate, kind="WAV")
    prepared = preprocessing.prepare(data, settings(vad_method="none"))
    np.testing.assert_array_equal(prepared.pcm, clips.to_int16(audio.decode(data, RATE)))
    assert prepared.source_seconds == pytest.approx(2.0, abs=1e-3)
    assert (prepared.removed, prepared.no_speech) == (0, False)
    assert np.isnan(prepared.snr_db)


@pytest.mark.parametrize(("inside", "outside", "expected"), [(1000, 100, 20.0), (500, 500, 0.0), (500, 0, 10 * np.log10(500**2 * 12))])
def test_signal_to_noise_ratio(inside, outside, expected):
    pcm = np.concatenate([np.full(100, outside), np.full(200, inside), np.full(50, -outside)]).astype(np.int16)
    assert preprocessing.snr_db(pcm, np.array([[100, 300]])) == pytest.approx(expected)
    assert preprocessing.snr_db(pcm, np.array([[100, 150], [150, 300]])) == pytest.approx(expected)
    assert np.isnan(preprocessing.snr_db(pcm, np.empty((0, 2), dtype=np.int64)))
    assert np.isnan(preprocessing.snr_db(pcm, np.array([[0, 350]])))


def test_the_archive_is_opened_once_and_again_when_it_changed(tmp_path):
    source = raw(tmp_path / "raw", good(6))
    opened = preprocessing._opened
    opened.cache_clear()
    preprocessing.build("demo", CORPUS, source, tmp_path / "clips", settings(), RUNTIME)
    first = written(tmp_path / "clips")
    changed = good(6) | {member(1, 1): recording(spoken(40))}
    raw(source, changed)
    os.utime(source / "part0.zip", ns=(1, 1))
    preprocessing.build("demo", CORPUS, source, tmp_path / "clips", settings(), RUNTIME)
    assert written(tmp_path / "clips") != first
    assert opened.cache_info().misses == 2


def stage(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SER_WORKERS": "2"}
    return subprocess.run([sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_stages_as_they_are_run(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    missing = stage(tmp_path, "stages.preprocess", "--dataset", "demo")
    assert missing.returncode == 1
    assert "run `dvc repro download@demo` first" in missing.stderr
    raw(tmp_path / "data" / "raw" / "demo", good(24))
    preprocess = stage(tmp_path, "stages.preprocess", "--dataset", "demo")
    assert preprocess.returncode == 0, preprocess.stderr
    assert "demo: 24 found = 24 kept + rejected (none)" in preprocess.stderr
    assert "happy: VAD removed" in preprocess.stderr
    extract = stage(tmp_path, "stages.features", "--dataset", "demo")
    assert extract.returncode == 0, extract.stderr
    assert len(features.read(tmp_path / "data" / "features" / "demo", PARAMS.features)) == 24
    show = stage(tmp_path, "stages.show", "--dataset", "demo", member(3, 2), "--out", "seen/clip.png")
    assert show.returncode == 0, show.stderr
    assert (tmp_path / "seen" / "clip.png").read_bytes().startswith(b"\x89PNG")
    unknown = stage(tmp_path, "stages.show", "--dataset", "demo", member(3, 2), "--out", "seen/clip.qqq")
    assert unknown.returncode == 1
    assert "seen/clip.qqq: the name needs an ending" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    vague = stage(tmp_path, "stages.show", "--dataset", "demo", "Actor_02")
    assert vague.returncode == 1
    assert "5 recordings match" in vague.stderr


def test_a_recording_that_is_too_short_is_not_said_to_be_long_enough() -> None:
    """1,599 values are 0.0999 s, which rounds to the limit itself."""
    settings = load(ROOT / "params.yaml").preprocess
    with pytest.raises(audio.AudioError, match=r"0\.099 s; at least 0\.1 s"):
        preprocessing.prepare(recording(voices()[0][:1599]), settings)
