"""Damaged files between the stages: one message, which names the file and the command that writes it again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser import SerError
from ser.encoders import store
from ser.evaluation import examples, predictions, result
from ser.params import load
from ser.runtime.reading import read_json
from ser.signal import clips
from ser.splits import assignment
from ser.views import features

PARAMS = load(Path(__file__).parents[2] / "params.yaml")
FEATURES = PARAMS.features.model_copy(update={"copies": None})
LENGTHS = np.array([3, 2, 4])
NAMES = ["a.wav", "b.wav", "c.wav"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One file of each kind, of three clips, where the pipeline keeps it."""
    for folder in ("clips", "features", "encoded", "raw"):
        (tmp_path / folder / "demo").mkdir(parents=True)
    table = pd.DataFrame({name: [""] * 3 for name in clips.COLUMNS})
    table = table.assign(clip=NAMES, emotion="sad", offset=np.cumsum(LENGTHS) - LENGTHS, samples=LENGTHS, source_seconds=0.5, removed=0.25)
    table = table.assign(missing=0.0)
    table.assign(no_speech=False, content="0123").to_csv(tmp_path / "clips/demo/clips.csv", index=False, lineterminator="\n")
    np.save(tmp_path / "clips/demo/audio.npy", np.arange(9, dtype=np.int16))
    for name, width in features.widths(FEATURES).items():
        np.save(tmp_path / f"features/demo/{name}.npy", np.zeros((9, width), np.float16))
    np.save(tmp_path / "features/demo/offsets.npy", np.append(0, np.cumsum(LENGTHS)))
    np.save(tmp_path / "features/demo/functionals.npy", np.zeros((3, 88), np.float32))
    np.save(tmp_path / "encoded/demo/states.npy", np.zeros((9, 2, 5), np.float16))
    np.save(tmp_path / "encoded/demo/offsets.npy", np.append(0, np.cumsum(LENGTHS)))
    store.write_facts(tmp_path / "encoded/demo", {"layers": [1, 2], "width": 5})
    parts = pd.DataFrame({"clip": NAMES * 2, "fold": [1] * 3 + [2] * 3, "part": ["train", "valid", "test", "test", "train", "valid"]})
    parts.to_csv(tmp_path / "folds.csv", index=False)
    counts = {fold: {"train": 1, "valid": 1, "test": 1} for fold in "12"}
    told = {"protocol": "random", "speaker_independent": False, "folds": counts, "leaks": {}}
    (tmp_path / "folds.json").write_text(json.dumps(told, indent=1) + "\n")
    shares = parts.assign(seed=0, emotion="sad", p_sad=0.75, p_happy=0.25)[["clip", "fold", "seed", "part", "emotion", "p_sad", "p_happy"]]
    (tmp_path / "predictions.csv").write_text(predictions.to_text(shares))
    about = {"clip": "a.wav", "fold": 1}
    sound = np.zeros(40, np.int16), np.zeros((4, 8)), {"log_mel": np.full(4, 0.25)}
    examples.write(tmp_path / "examples.npz", [examples.Example(about, 16000, *sound)])
    (tmp_path / "raw/demo/source.json").write_text('{"edition": "made", "archives": []}\n')
    return tmp_path


def read_folds(data: Path) -> None:
    assignment.read_facts(data / "folds.json", assignment.read(data / "folds.csv", NAMES))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "clips/demo/clips.csv": ("preprocess@demo", lambda data: clips.read(data / "clips/demo", 16000)),
    "clips/demo/audio.npy": ("preprocess@demo", lambda data: clips.read(data / "clips/demo", 16000)),
    "features/demo/log_mel.npy": ("features@demo", lambda data: features.read(data / "features/demo", FEATURES)),
    "features/demo/offsets.npy": ("features@demo", lambda data: features.read(data / "features/demo", FEATURES)),
    "features/demo/functionals.npy": ("features@demo", lambda data: features.read(data / "features/demo", FEATURES)),
    "encoded/demo/states.npy": ("encode@demo", lambda data: store.read(data / "encoded/demo")),
    "encoded/demo/offsets.npy": ("encode@demo", lambda data: store.read(data / "encoded/demo")),
    "encoded/demo/encoder.json": ("encode@demo", lambda data: store.read(data / "encoded/demo")),
    "folds.csv": ("split@folds", read_folds),
    "folds.json": ("split@folds", read_folds),
    "predictions.csv": ("evaluate@predictions", lambda data: predictions.read(data / "predictions.csv")),
    "examples.npz": ("evaluate@examples", lambda data: examples.read(data / "examples.npz")),
    "raw/demo/source.json": ("download@demo", lambda data: read_json(data / "raw/demo/source.json", "download", "demo", ["edition"])),
}
"""File → the stage that writes it, and its reader."""
SPOIL: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "one byte": lambda whole: whole[:1],
    "half": lambda whole: whole[: len(whole) // 2],
    "its end is missing": lambda whole: whole[:-2],
    "garbage": lambda whole: bytes(np.random.default_rng(0).integers(0, 256, len(whole), np.uint8)),
    "zeros": lambda whole: bytes(len(whole)),
    "another file": lambda whole: b"<!DOCTYPE html>\n<p>404</p>\n",
    "the start is missing": lambda whole: whole[40:],
}


def test_whole_files_are_read(data):
    for _, read in READERS.values():
        read(data)


@pytest.mark.parametrize("spoil", SPOIL)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_named_with_the_stage_that_writes_it(data, name, spoil):
    stage, read = READERS[name]
    path = data / name
    path.write_bytes(SPOIL[spoil](path.read_bytes()))
    with pytest.raises(SerError) as error:
        read(data)
    at_fault = path.with_suffix(".csv") if name == "folds.json" and "counts other" in str(error.value) else path
    assert str(error.value).startswith(str(at_fault))
    assert re.search(rf"dvc repro (split|{stage})", str(error.value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("folds.csv", lambda table: table[table["fold"] == 1], "counts other clips"),
        ("folds.csv", lambda table: table.iloc[:-1], "counts other clips"),
        ("folds.csv", lambda table: table.assign(part="train"), "counts other clips"),
        ("folds.csv", lambda table: table.assign(part="exam"), "the parts train, valid, test"),
        ("folds.csv", lambda table: table.assign(fold=table["fold"] - 1), "folds from 1"),
        ("folds.csv", lambda table: table.assign(clip="a.wav"), "twice in a fold"),
        ("folds.csv", lambda table: table.replace("b.wav", "x.wav"), "clips.csv has no clip 'x.wav'"),
        ("clips/demo/clips.csv", lambda table: table.iloc[:-1], "audio.npy"),
        ("clips/demo/clips.csv", lambda table: table.iloc[1:], "do not follow one another"),
        ("clips/demo/clips.csv", lambda table: table.assign(clip="a.wav"), "do not follow one another"),
        ("clips/demo/clips.csv", lambda table: table.drop(columns=["content"]), "no column 'content'"),
        ("predictions.csv", lambda table: table.assign(p_sad="much"), "is damaged"),
        ("predictions.csv", lambda table: table.assign(fold=""), "is damaged"),
    ],
)
def test_a_table_with_other_rows_is_refused(data, name, change, says):
    path = data / name
    change(pd.read_csv(path, keep_default_na=False)).to_csv(path, index=False)
    with pytest.raises(SerError, match=re.escape(says)):
        READERS[name][1](data)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("clips/demo/audio.npy", np.zeros(8, np.int16)),
        ("clips/demo/audio.npy", np.zeros(9, np.float32)),
        ("features/demo/log_mel.npy", np.zeros((8, 64), np.float16)),
        ("features/demo/log_mel.npy", np.zeros((9, 40), np.float16)),
        ("features/demo/log_mel.npy", np.zeros((9, 64), np.float64)),
        ("features/demo/offsets.npy", np.array([0, 3, 2, 9])),
        ("features/demo/offsets.npy", np.array([], np.int64)),
        ("features/demo/offsets.npy", np.int64(4)),
        ("features/demo/functionals.npy", np.zeros((2, 88), np.float32)),
        ("encoded/demo/states.npy", np.zeros((9, 3, 5), np.float16)),
        ("encoded/demo/states.npy", np.zeros((7, 2, 5), np.float16)),
    ],
)  # fmt: skip
def test_an_array_of_another_run_is_refused(data, name, array):
    np.save(data / name, array)
    stage, read = READERS[name]
    with pytest.raises(SerError, match=f"is damaged or of another run.*dvc repro {stage}"):
        read(data)


def test_a_metrics_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "demo.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SerError, match=r"demo\.json is not text: run `dvc repro evaluate@demo`"):
        result.read(tmp_path / "demo.json")


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
def test_what_is_no_file_is_not_waited_for(data, name, kind):
    path = data / name
    path.unlink()
    kind(path)
    with pytest.raises(SerError, match=re.escape(name) + r" (is damaged or of another run: it is no file|cannot be read)"):
        READERS[name][1](data)
