"""The stage encode: the packed states of a corpus, workers, resuming, and nothing at all without an encoder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from threadpoolctl import threadpool_limits

from ser import SerError
from ser.encoders import encode, frozen
from ser.encoders import store as stores
from ser.encoders.weights import Weights, obtain
from ser.params import Params, load
from ser.params.encoder import Encoder
from ser.params.features import Copies
from ser.runtime.reading import DamagedError
from ser.signal.clips import growing_array, to_float
from tests.encoders import tiny
from tests.runtime.test_workers import cluster, needs_dask

ROOT = Path(__file__).resolve().parents[2]
PARAMS: Params = load(ROOT / "params.yaml")
RATE = 16_000
COPIES = Copies(count=1, room_share=0.3, noise_share=0.7, babble_share=0.3, snr_db=[0.0, 30.0], line_share=0.3, gain_db=6.0, seed=0)
LENGTHS = [1600, 4000, 8000, 1601, 320, 5000, 3000, 2000, 1000, 60 * RATE, 700, 3, 2222, 4096, 1234, 800, 900, 1000]
"""More than two tasks of a worker; one clip of a minute, which the tiny encoder hears in pieces, and one of three values."""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SER_WORKERS", raising=False)


def built(
    tmp_path: Path,
    name: str,
    workers: int = 1,
    scheduler: str | None = None,
    rate: int = RATE,
    copies: Copies | None = None,
    **changes: object,
) -> Path:
    """A corpus encoded by the tiny Whisper; the folder of its states."""
    clips = tmp_path / "clips"
    if not clips.exists():
        tiny.store(clips, LENGTHS)
    settings = Encoder.model_validate({"name": "mine", "layers": [1, 3], "path": str(tmp_path / "mine"), **changes})
    if not (tmp_path / "mine").exists():
        tiny.whisper(tmp_path / "mine")
    found = obtain(settings, mirror=None, cache=tmp_path / "cache")
    runtime = PARAMS.runtime.model_copy(update={"workers": workers, "scheduler": scheduler})
    encode.build(clips, tmp_path / name, rate, settings, found, runtime, tmp_path / "cache", copies)
    return tmp_path / name


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_each_clip_has_its_states_in_the_order_of_the_clips(tmp_path):
    encoded = stores.read(built(tmp_path, "encoded"))
    assert encoded is not None
    assert len(encoded) == len(LENGTHS)
    assert (encoded.states.dtype, encoded.states.shape[1:]) == (np.float16, (2, 32))
    assert np.diff(encoded.offsets).tolist() == [-(-(n + RATE) // 320) for n in LENGTHS]
    encoder = frozen.load(tmp_path / "mine", [1, 3])
    audio = np.load(tmp_path / "clips/audio.npy")
    ends = np.cumsum(LENGTHS)
    with threadpool_limits(1):  # as the stage does: several threads may add in another order
        for row, (end, length) in enumerate(zip(ends, LENGTHS, strict=True)):
            expected = frozen.hidden_states(encoder, to_float(audio[end - length : end]), RATE, 1.0)
            np.testing.assert_array_equal(encoded.clip(row), expected)
    assert encoded.facts["layers"] == [1, 3]
    assert encoded.facts["sha256"] == hashlib.sha256((tmp_path / "mine/model.safetensors").read_bytes()).hexdigest()
    assert not list((tmp_path / "cache/encoding").glob("*/*"))


def test_copies_come_after_the_clips_and_an_interrupted_run_goes_on_among_them(tmp_path, monkeypatch):
    alone = stores.read(built(tmp_path, "alone"))
    whole = built(tmp_path, "whole", copies=COPIES)
    both = stores.read(whole)
    assert alone is not None
    assert both is not None
    assert (len(both), both.copies, len(both.offsets) - 1) == (len(LENGTHS), 1, 2 * len(LENGTHS))
    np.testing.assert_array_equal(both.without_copies().states, alone.states)
    np.testing.assert_array_equal(np.diff(both.offsets), np.tile(np.diff(alone.offsets), 2))
    row = len(LENGTHS) + 2
    assert not np.array_equal(both.clip(row), both.clip(2))
    hidden_states, heard = frozen.hidden_states, []

    def counted(*arguments):
        if len(heard) == 2 * encode.CHUNK + len(LENGTHS):
            raise KeyboardInterrupt
        heard.append(1)
        return hidden_states(*arguments)

    monkeypatch.setattr(encode.frozen, "hidden_states", counted)
    with pytest.raises(KeyboardInterrupt):
        built(tmp_path, "resumed", copies=COPIES)
    heard.clear()
    assert content(built(tmp_path, "resumed", copies=COPIES)) == content(whole)
    assert len(heard) < len(LENGTHS)
    (whole / "encoder.json").write_text((whole / "encoder.json").read_text().replace('"copies": 1', '"copies": 4'))
    with pytest.raises(DamagedError, match="36 rows are not clips and 4 copies of each"):
        stores.read(whole)


def test_workers_give_the_same_bytes(tmp_path):
    assert content(built(tmp_path, "two", workers=2)) == content(built(tmp_path, "one"))


@needs_dask
def test_a_cluster_gives_the_same_bytes(tmp_path):
    with cluster(tmp_path) as runtime:
        many = content(built(tmp_path, "many", scheduler=runtime.scheduler))
    assert many == content(built(tmp_path, "one"))


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_a_corpus_at_another_rate_has_states_for_its_seconds(tmp_path, rate):
    encoded = stores.read(built(tmp_path, "encoded", rate=rate, silence_seconds=0.0))
    assert encoded is not None
    assert abs(len(encoded.clip(9)) - 60 * RATE / rate * 50) <= 1


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    whole, heard = content(built(tmp_path, "whole")), []
    hidden_states = frozen.hidden_states

    def until(most: int) -> None:
        def counted(*arguments):
            if len(heard) >= most:
                raise KeyboardInterrupt
            heard.append(1)
            return hidden_states(*arguments)

        monkeypatch.setattr(encode.frozen, "hidden_states", counted)

    for most in (3, 3 + encode.CHUNK + 2):
        until(most)
        with pytest.raises(KeyboardInterrupt):
            built(tmp_path, "resumed")
        assert not (tmp_path / "resumed").exists()
    heard.clear()
    until(99)
    assert content(built(tmp_path, "resumed")) == whole
    assert len(heard) == len(LENGTHS) - encode.CHUNK


@pytest.mark.parametrize(
    "how", ["states are cut", "counts are cut", "counts are junk", "counts are moved", "a bit has flipped", "states are gone", "no header"]
)
def test_what_an_interrupted_run_left_is_only_believed_as_far_as_it_goes(tmp_path, monkeypatch, how):
    whole, seen = content(built(tmp_path, "whole")), []
    hidden_states = frozen.hidden_states

    def counted(*arguments):
        if len(seen) == 2 * encode.CHUNK:
            raise KeyboardInterrupt
        seen.append(1)
        return hidden_states(*arguments)

    monkeypatch.setattr(encode.frozen, "hidden_states", counted)
    with pytest.raises(KeyboardInterrupt):
        built(tmp_path, "resumed")
    (states,), (counts,) = (list((tmp_path / "cache/encoding").glob(f"*/{name}.npy")) for name in ("states", "counts"))
    match how:
        case "states are cut":
            states.write_bytes(states.read_bytes()[:-7])
        case "counts are cut":
            counts.write_bytes(counts.read_bytes()[:-3])
        case "counts are junk":
            counts.write_bytes(counts.read_bytes()[:128] + b"\xff" * 128)
        case "counts are moved":
            counts.write_bytes(
                counts.read_bytes()[:128] + counts.read_bytes()[144:160] + counts.read_bytes()[128:144] + counts.read_bytes()[160:]
            )
        case "a bit has flipped":
            content_of = bytearray(states.read_bytes())
            content_of[len(content_of) // 3] ^= 16
            states.write_bytes(content_of)
        case "states are gone":
            states.unlink()
        case "no header":
            states.write_bytes(b"")
    monkeypatch.setattr(encode.frozen, "hidden_states", hidden_states)
    assert content(built(tmp_path, "resumed")) == whole


def test_of_two_that_encode_the_same_the_second_waits_and_has_the_same_bytes(tmp_path, monkeypatch):
    whole = content(built(tmp_path, "whole"))
    begun, go_on = threading.Event(), threading.Event()
    hidden_states = frozen.hidden_states

    def slow(*arguments):
        begun.set()
        assert go_on.wait(60)
        return hidden_states(*arguments)

    monkeypatch.setattr(encode.frozen, "hidden_states", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(built, tmp_path, "first")
        assert begun.wait(60)
        second = pool.submit(built, tmp_path, "second")
        wait([second], 0.5)  # long enough to come to the lock
        go_on.set()
        assert [content(one.result(60)) for one in (first, second)] == [whole, whole]


def test_other_settings_never_go_on_from_what_was_left(tmp_path, monkeypatch):
    expected = content(built(tmp_path, "expected", layers=[0, 2]))
    hidden_states, seen = frozen.hidden_states, []

    def counted(*arguments):
        if len(seen) == encode.CHUNK:
            raise KeyboardInterrupt
        seen.append(1)
        return hidden_states(*arguments)

    monkeypatch.setattr(encode.frozen, "hidden_states", counted)
    with pytest.raises(KeyboardInterrupt):
        built(tmp_path, "encoded")
    monkeypatch.setattr(encode.frozen, "hidden_states", hidden_states)
    assert content(built(tmp_path, "encoded", layers=[0, 2])) == expected


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_growing_array_goes_on_behind_the_rows_that_are_kept(tmp_path, kept):
    rows = np.arange(24, dtype=np.float16).reshape(4, 3, 2)
    with growing_array(tmp_path / "a.npy", np.float16, (3, 2)) as writer:
        writer.append(rows)
    with growing_array(tmp_path / "a.npy", np.float16, (3, 2), kept=kept) as writer:
        assert writer.length == kept
        writer.append(-rows[kept:])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.concatenate([rows[:kept], -rows[kept:]]))
    np.save(tmp_path / "b.npy", np.load(tmp_path / "a.npy"))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_store_that_does_not_fit_is_refused(tmp_path):
    folder = built(tmp_path, "encoded")
    np.save(folder / "states.npy", np.zeros((7, 2, 32), np.float16))
    with pytest.raises(SerError, match="run `dvc repro encode@encoded`"):
        stores.read(folder)
    np.save(tmp_path / "clips/audio.npy", np.zeros(9, np.int16))
    with pytest.raises(SerError, match="run `dvc repro preprocess@clips`"):
        built(tmp_path, "other")


def test_a_layer_that_does_not_exist_is_told_before_any_work(tmp_path):
    with pytest.raises(SerError, match="hidden states 0 to 3"):
        built(tmp_path, "encoded", layers=[1, 4])


# the stage


def stage(folder: Path, encoder: object, python: list[str] | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """``stages.encode`` on a store of three clips, with these parameters."""
    if not (folder / "data/clips/demo").exists():
        tiny.store(folder / "data/clips/demo", [1600, 16_000, 640])
    yaml = YAML()
    values = yaml.load(ROOT / "params.yaml")
    values["features"] |= {"encoder": encoder, "copies": None}
    with open(folder / "params.yaml", "w") as file:
        yaml.dump(values, file)
    place = {"SER_CACHE_DIR": str(folder / "cache"), "SER_WORKERS": "1", "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SER_", "HF_"))}
    command = [sys.executable, *(python or ["-m", "stages.encode"]), "--dataset", "demo"]
    return subprocess.run(command, cwd=folder, env={**kept, **place, **environment}, capture_output=True, text=True, timeout=300)


def test_without_an_encoder_nothing_is_encoded_fetched_or_imported(tmp_path):
    check = "import runpy, sys; runpy.run_module('stages.encode', run_name='__main__'); assert not {'torch', 'requests'} & set(sys.modules)"
    done = stage(tmp_path, None, ["-c", check], HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "features.encoder is null" in done.stderr
    assert [path.name for path in (tmp_path / "data/encoded/demo").iterdir()] == ["encoder.json"]
    assert stores.read(tmp_path / "data/encoded/demo") is None
    assert not (tmp_path / "cache").exists()


def test_a_whisper_goes_from_the_mirror_to_the_states(tmp_path):
    folder = tiny.whisper(tmp_path / "mirror/encoders/whisper-tiny")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "model.safetensors.sha256").write_text(f"{digest}  model.safetensors\n")
    done = stage(tmp_path, {"name": "whisper-tiny", "layers": [0, 2]}, SER_MIRROR=str(tmp_path / "mirror"))
    assert done.returncode == 0, done.stderr
    assert "licence: MIT; commercial use allowed" in done.stderr
    encoded = stores.read(tmp_path / "data/encoded/demo")
    assert encoded is not None
    assert encoded.offsets.tolist() == [0, 55, 155, 207]
    assert encoded.facts["sha256"] == digest


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        ({"name": "whisper-huge", "layers": [1]}, "'whisper-huge' is not known"),
        ({"name": "emotion2vec+", "layers": [1]}, "is not offered"),
        ({"name": "whisper-tiny", "layers": [1]}, "cannot be reached"),
        ({"name": "whisper-tiny", "layers": [2, 1]}, "must ascend"),
        ({"name": "whisper-tiny", "layers": [-1]}, "layers.0: found -1"),
        ({"name": "whisper-tiny", "layers": []}, "at least 1 entries"),
        ({"name": "whisper-tiny", "layers": [1], "silence_seconds": -1.0}, "silence_seconds"),
    ],
)
def test_each_mistake_is_one_clear_message(tmp_path, encoder, says):
    done = stage(tmp_path, encoder, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data/encoded").exists()


def test_the_real_encoder_runs_on_the_shortest_and_a_long_clip(tmp_path):
    if not (tiny.REAL / "whisper-tiny.en").is_dir():
        pytest.skip("the real weights of whisper-tiny.en are not on this machine")
    clips = tiny.store(tmp_path / "clips", [1600, 31 * RATE])
    settings = Encoder(name="whisper-tiny.en", layers=[1, 2, 3])
    found: Weights = obtain(settings, mirror=str(tiny.REAL.parent), cache=tmp_path / "cache")
    runtime = PARAMS.runtime.model_copy(update={"workers": 1})
    encoded = encode.build(clips, tmp_path / "encoded", RATE, settings, found, runtime, tmp_path / "cache")
    assert encoded.offsets.tolist() == [0, 55, 55 + 1600]
    assert np.isfinite(np.asarray(encoded.states, dtype=np.float32)).all()
    assert np.asarray(encoded.states[:, 1], dtype=np.float32).std() > 0.1
