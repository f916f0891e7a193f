from __future__ import annotations

import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import scipy.fft
from fixtures.archives import voices
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from ser import SerError
from ser.params import load
from ser.params.features import Copies, Features
from ser.params.runtime import Runtime
from ser.runtime.reading import DamagedError
from ser.signal import audio, clips
from ser.signal.heard import Heard
from ser.views import extraction, features
from ser.views.mfcc import dct_matrix
from ser.views.spectrum import frame_count, mel_filterbank

PARAMS = load(Path(__file__).parents[2] / "params.yaml")
DEFAULT = PARAMS.features.model_copy(update={"copies": None})
COPIES = Copies(count=2, room_share=0.3, noise_share=0.7, babble_share=0.3, snr_db=[0.0, 30.0], line_share=0.3, gain_db=6.0, seed=0)
COPIED = DEFAULT.model_copy(update={"copies": COPIES})
RATE = 16000


def chosen(backend: str = "native", deltas: bool = False, **changes) -> Features:
    """The project's own features with changes, by key of any of their sections; n_mels sets both views' bands."""
    values = DEFAULT.model_dump() | {"backend": backend, "deltas": deltas}
    sections = [values[section] for section in ("frames", "log_mel", "mfcc")]
    for key, value in changes.items():
        found = [section for section in sections if key in section]
        assert found, key
        for section in found:
            section[key] = value
    return Features.model_validate(values)


def both(signal: np.ndarray, rate: int, **changes) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The views before rounding: ours, and librosa's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # librosa on signals shorter than a frame, and on empty bands
        theirs = features.exact(signal, rate, chosen("librosa", **changes))
    return features.exact(signal, rate, chosen(**changes)), theirs


def assert_equal_to_librosa(signal: np.ndarray, rate: int = RATE, **changes) -> None:
    ours, theirs = both(signal, rate, **changes)
    assert list(ours) == list(theirs) == ["log_mel", "mfcc"]
    for view in ours:
        assert ours[view].dtype == np.float32
        assert ours[view].shape == theirs[view].shape
        np.testing.assert_allclose(ours[view], theirs[view], atol=1e-3, rtol=0)


def sine(hertz: float, length: int = 8000) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(length) / RATE).astype(np.float32)


NOISE = np.random.default_rng(0).uniform(-1, 1, 8000).astype(np.float32)
CASES = {
    "one value": NOISE[:1],
    "two values": NOISE[:2],
    "one hop less one": NOISE[:255],
    "one hop": NOISE[:256],
    "one window": NOISE[:400],
    "one FFT": NOISE[:512],
    "silence": np.zeros(8000, np.float32),
    "one click": np.eye(1, 8000, 4000, dtype=np.float32)[0],
    "full scale, constant": np.ones(8000, np.float32),
    "full scale, tone": sine(440),
    "full scale, low tone": sine(60),
    "full scale, square": np.sign(sine(440)),
    "full scale, noise": np.sign(NOISE),
    "noise": NOISE,
    "one step of 16 bit": (NOISE / 32768).astype(np.float32),
    "tone over silence": np.concatenate([sine(1000), np.zeros(8000, np.float32)]),
    "spoken": voices()[0].astype(np.float32),
}


@pytest.mark.parametrize("signal", CASES.values(), ids=CASES.keys())
def test_values_are_librosas(signal):
    assert_equal_to_librosa(signal)


@pytest.mark.parametrize(
    "changes",
    [
        {"window": "hamming"},
        {"n_fft": 1024, "win_length": 512, "hop_length": 256, "window": "hamming", "n_mels": 128},  # the paper's
        {"n_fft": 400, "win_length": 400, "hop_length": 160, "n_mels": 80, "fmin": 0.0},  # Whisper's
        {"n_fft": 513, "win_length": 401, "hop_length": 100},
        {"n_fft": 512, "win_length": 400, "hop_length": 700},  # values between the frames are skipped
        {"n_fft": 512, "win_length": 16, "hop_length": 16},
        {"fmax": None},
        {"fmax": 3400.0, "fmin": 300.0, "n_mels": 20, "n_mfcc": 20},
        {"n_mels": 256},  # some bands lie between two bins
        {"floor_db": -60.0},
        {"floor_db": -200.0},
        {"floor_db": 0.0},
    ],
    ids=str,
)
def test_values_are_librosas_for_every_parameter(changes):
    for name in ("spoken", "tone over silence", "one value"):
        assert_equal_to_librosa(CASES[name], **changes)


def test_views_with_different_numbers_of_bands():
    settings = chosen()
    settings = settings.model_copy(update={"log_mel": settings.log_mel.model_copy(update={"n_mels": 128})})
    ours = features.exact(CASES["spoken"], RATE, settings)
    theirs = features.exact(CASES["spoken"], RATE, settings.model_copy(update={"backend": "librosa"}))
    assert ours["log_mel"].shape[1] == 128
    assert ours["mfcc"].shape[1] == settings.mfcc.n_mfcc
    for view in ours:
        np.testing.assert_allclose(ours[view], theirs[view], atol=1e-3)


@settings(max_examples=60)
@given(length=st.integers(1, 5000), rate=st.integers(8000, 96000), loudness=st.floats(0, 1), seed=st.integers(0, 99))
def test_any_length_and_rate(length, rate, loudness, seed):
    signal = (loudness * np.random.default_rng(seed).uniform(-1, 1, length)).astype(np.float32)
    assert_equal_to_librosa(signal, rate, fmax=None)
    stored = features.extract(signal, rate, chosen(fmax=None))
    count = frame_count(length, DEFAULT.frames)
    assert count >= 1
    assert {view: values.shape for view, values in stored.items()} == {"log_mel": (count, 64), "mfcc": (count, DEFAULT.mfcc.n_mfcc)}
    assert all(values.dtype == np.float16 and np.isfinite(values).all() for values in stored.values())


def test_values_are_librosas_on_real_recordings():
    path = Path(os.environ.get("SER_MIRROR") or Path(__file__).parents[3] / "shared" / "data") / "ravdess" / "Audio_Speech_Actors_01-24.zip"
    if not path.is_file():
        pytest.skip(f"RAVDESS not found at {path}; set SER_MIRROR")
    with zipfile.ZipFile(path) as packed:
        members = sorted(name for name in packed.namelist() if name.endswith(".wav"))[::90]
        for member in members:
            signal = audio.decode(packed.read(member), RATE)
            assert_equal_to_librosa(signal)
            assert_rounding_is_small(features.extract(signal, RATE, DEFAULT), features.exact(signal, RATE, DEFAULT))
    assert len(members) == 16


def assert_rounding_is_small(stored: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> None:
    for view, values in exact.items():
        error = np.abs(stored[view].astype(np.float64) - values)
        assert (error <= np.abs(values) / 2048 + 1e-7).all()
    assert np.abs(stored["log_mel"].astype(np.float64) - exact["log_mel"]).max() <= 2**-5  # dB


@pytest.mark.parametrize("deltas", [False, True])
@pytest.mark.parametrize("signal", CASES.values(), ids=CASES.keys())
def test_float16_error_is_as_stated(signal, deltas):
    settings = chosen(deltas=deltas)
    assert_rounding_is_small(features.extract(signal, RATE, settings), features.exact(signal, RATE, settings))


def test_the_floor_is_fixed_and_never_undercut():
    silence, loud = (features.exact(CASES[name], RATE, DEFAULT)["log_mel"] for name in ("silence", "full scale, tone"))
    assert (silence == DEFAULT.log_mel.floor_db).all()
    assert loud.min() == DEFAULT.log_mel.floor_db  # a loud clip does not lift it, as librosa's top_db would
    assert loud.max() > 20


@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "fmin", "fmax"), [(16000, 512, 64, 50, 8000), (48000, 1024, 128, 0, None), (8000, 200, 23, 20, 3800)]
)
def test_filterbank_is_librosas(rate, n_fft, n_mels, fmin, fmax):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        theirs = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    np.testing.assert_allclose(mel_filterbank(rate, n_fft, n_mels, fmin, fmax), theirs, atol=1e-8)


@pytest.mark.parametrize(("n_mels", "n_mfcc"), [(64, 40), (40, 40), (8, 2)])
def test_dct_is_scipys_and_orthonormal(n_mels, n_mfcc):
    matrix = dct_matrix(n_mels, n_mfcc)
    levels = np.random.default_rng(0).normal(-50, 10, (7, n_mels))
    np.testing.assert_allclose(levels @ matrix.T, scipy.fft.dct(levels, type=2, norm="ortho", axis=1)[:, :n_mfcc], atol=1e-4)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(n_mfcc), atol=1e-6)


def test_mfcc_can_be_had_from_log_mel_when_the_bands_agree():
    log_mel, mfcc = features.exact(CASES["spoken"], RATE, DEFAULT).values()
    np.testing.assert_allclose(log_mel @ dct_matrix(DEFAULT.log_mel.n_mels, DEFAULT.mfcc.n_mfcc).T, mfcc, atol=1e-3)


@pytest.mark.parametrize("frames", [1, 2, 8, 9, 10, 50])
def test_deltas_are_librosas_with_repeated_ends(frames):
    values = np.random.default_rng(frames).normal(-50, 10, (frames, 5)).astype(np.float32)
    widened = features.with_deltas(values)
    np.testing.assert_array_equal(widened[:, :5], values)
    padded = np.pad(values, ((20, 20), (0, 0)), mode="edge")
    np.testing.assert_allclose(widened[:, 5:], librosa.feature.delta(padded, width=9, axis=0)[20:-20], atol=1e-4)


def test_deltas_double_the_width():
    settings = chosen(deltas=True)
    stored = features.extract(NOISE, RATE, settings)
    assert (
        {view: values.shape[1] for view, values in stored.items()}
        == features.widths(settings)
        == {"log_mel": 128, "mfcc": 2 * DEFAULT.mfcc.n_mfcc}
    )


@pytest.mark.parametrize("backend", ["native", "librosa"])
@pytest.mark.parametrize(("rate", "changes"), [(8000, {"fmax": 8000.0}), (16000, {"fmin": 8000.0, "fmax": None})])
def test_bands_beyond_half_the_rate_are_refused_by_name(backend, rate, changes):
    with pytest.raises(SerError, match=r"features\.log_mel: fmin .* fmax .* ≤ \d+ Hz"):
        features.extract(NOISE, rate, chosen(backend, **changes))


def test_empty_bands_are_counted():
    assert features.empty_bands(RATE, DEFAULT) == {"log_mel": 0, "mfcc": 0}
    many = features.empty_bands(RATE, chosen(n_mels=256))
    levels = features.extract(np.sign(NOISE), RATE, chosen(n_mels=256))["log_mel"]
    assert many["log_mel"] == (levels.max(axis=0) == DEFAULT.log_mel.floor_db).sum() > 0


def test_an_hour_is_cut_into_blocks_without_a_seam():
    signal = np.tile(NOISE, 40)
    whole = features.exact(signal, RATE, DEFAULT)["log_mel"]
    hop = DEFAULT.frames.hop_length
    for frame in (0, 63, 64, 65, 127, 128, 500, len(whole) - 1):
        around = np.pad(signal, 2 * hop)[frame * hop : frame * hop + 4 * hop]
        np.testing.assert_allclose(features.exact(around, RATE, DEFAULT)["log_mel"][2], whole[frame], atol=1e-4)


RUNTIME = PARAMS.runtime.model_copy(update={"workers": 1})


def store(folder: Path, lengths: list[int]) -> Path:
    """A clip store of noise."""
    folder.mkdir(parents=True)
    pcm = np.random.default_rng(0).integers(-20000, 20000, sum(lengths)).astype(np.int16)
    np.save(folder / "audio.npy", pcm)
    defaults = {"string": "x", "int64": 0, "float64": 0.0, "bool": False}
    table = pd.DataFrame({column: [defaults[kind]] * len(lengths) for column, kind in clips.COLUMNS.items()})
    table["clip"] = [f"{i:03}.wav" for i in range(len(lengths))]
    table["samples"] = lengths
    table["offset"] = np.cumsum([0, *lengths])[:-1]
    table.to_csv(folder / "clips.csv", index=False)
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_store_holds_every_clips_frames_back_to_back(tmp_path, workers):
    lengths = [1, 255, 256, 257, 4000, 1, 9999] * 10
    source = store(tmp_path / "clips", lengths)
    runtime: Runtime = RUNTIME.model_copy(update={"workers": workers})
    count = extraction.build(source, tmp_path / "features", RATE, DEFAULT, runtime)
    views, opened = features.read(tmp_path / "features", DEFAULT), clips.read(source, RATE)
    assert len(views) == len(lengths)
    assert views.offsets.dtype == np.int64
    assert views.offsets[-1] == count == len(views.frames["log_mel"]) == sum(frame_count(length, DEFAULT.frames) for length in lengths)
    for row in (0, 3, 4, len(lengths) - 1):
        with threadpool_limits(1):  # as the workers do: the last bit can depend on how BLAS splits a product
            expected = features.extract(opened.signal(row), RATE, DEFAULT)
        for view, frames in views.clip(row).items():
            np.testing.assert_array_equal(frames, expected[view])
    np.save(tmp_path / "again.npy", np.array(views.frames["log_mel"]))
    assert (tmp_path / "again.npy").read_bytes() == (tmp_path / "features" / "log_mel.npy").read_bytes()


def test_store_is_the_same_bytes_again_and_from_two_processes(tmp_path):
    source = store(tmp_path / "clips", [4000, 300, 7000] * 30)
    written = []
    for run, workers in enumerate((1, 1, 2)):
        extraction.build(source, tmp_path / str(run), RATE, DEFAULT, RUNTIME.model_copy(update={"workers": workers}))
        written.append({path.name: path.read_bytes() for path in (tmp_path / str(run)).iterdir()})
    assert set(written[0]) == {"log_mel.npy", "mfcc.npy", "offsets.npy"}
    assert written[0] == written[1] == written[2]


def test_copies_come_after_the_clips_and_nothing_else_changes(tmp_path):
    source = store(tmp_path / "clips", [4000, 300, 7000])
    extraction.build(source, tmp_path / "alone", RATE, DEFAULT, RUNTIME)
    frames = extraction.build(source, tmp_path / "both", RATE, COPIED, RUNTIME)
    alone, both = features.read(tmp_path / "alone", DEFAULT), features.read(tmp_path / "both", COPIED)
    assert (len(both), both.copies, len(both.offsets) - 1, frames) == (3, 2, 9, alone.offsets[-1])
    for name, values in both.without_copies().frames.items():
        np.testing.assert_array_equal(values, alone.frames[name])
    signals = list(Heard.every(source, clips.read_table(source), RATE, COPIED.copies).signals())
    for row in (5, 8):
        np.testing.assert_array_equal(both.clip(row)["mfcc"], features.extract(signals[row], RATE, COPIED)["mfcc"])
    with pytest.raises(DamagedError, match="3 rows are not clips and 1 copies of each"):
        features.read(tmp_path / "alone", DEFAULT.model_copy(update={"copies": COPIES.model_copy(update={"count": 1})}))


def test_a_store_that_does_not_fit_its_table_is_refused_and_nothing_is_left(tmp_path):
    source = store(tmp_path / "clips", [4000, 300])
    np.save(source / "audio.npy", np.zeros(4299, dtype=np.int16))
    with pytest.raises(SerError, match="is damaged or of another run"):
        extraction.build(source, tmp_path / "features", RATE, DEFAULT, RUNTIME)
    assert not (tmp_path / "features").exists()


def test_frames_that_do_not_fit_their_offsets_are_refused(tmp_path):
    extraction.build(store(tmp_path / "clips", [4000]), tmp_path / "features", RATE, DEFAULT, RUNTIME)
    np.save(tmp_path / "features" / "offsets.npy", np.array([0, 3], dtype=np.int64))
    with pytest.raises(SerError, match="dvc repro features@features"):
        features.read(tmp_path / "features", DEFAULT)


def test_starts_without_torch_librosa_or_numba():
    slow = ("torch", "librosa", "numba", "pandas", "matplotlib")
    code = f"import sys, ser.views.features, ser.signal.preprocessing; print(*[module for module in {slow} if module in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
