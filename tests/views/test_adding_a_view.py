"""A third view, added at run time: a section, a class and a line in the list take it from the signal to the exported network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from pydantic import Field, create_model
from ruamel.yaml import YAML

from ser import params as schema
from ser.params import Params
from ser.params.features import Features, ViewSection
from ser.serving.export.write import to_onnx
from ser.signal.clips import to_int16
from ser.training import augment, batches, inference, jobs
from ser.views import extraction, features
from ser.views.spectrum import Sound, frame_count
from ser.views.view import View
from tests import made

CPU = torch.device("cpu")
RATE = 16000


class ToySection(ViewSection):
    """Root mean square of a frame in dB, and its zero crossings."""

    floor_db: float = Field(ge=-200, le=0)
    """Levels below this are raised to it."""


class ToyView(View):
    title = "toy"

    @property
    def width(self) -> int:
        return 2

    def frames(self, sound: Sound) -> np.ndarray:
        frames = self.features.frames
        centres = frames.hop_length * np.arange(frame_count(len(sound.signal), frames))
        padded = np.pad(sound.signal, frames.win_length)
        cut = np.stack([padded[centre + frames.win_length // 2 :][: frames.win_length] for centre in centres])
        floor = 10 ** (self.features.toy.floor_db / 20)
        level = 20 * np.log10(np.maximum(np.sqrt(np.mean(cut**2, axis=1)), floor))
        crossings = np.mean(np.diff(np.signbit(cut), axis=1), axis=1)
        return np.stack([level, crossings], axis=1).astype(np.float32)

    def silence(self) -> np.ndarray:
        return np.array([self.features.toy.floor_db, 0.0])

    def per_db(self) -> np.ndarray:
        return np.array([1.0, 0.0])


class Wider(Features):
    """``features`` with one section more, which may be null."""

    toy: ToySection | None = None


WiderParams = create_model("WiderParams", __base__=Params, features=(Wider, ...))


def values(**changes: Any) -> dict[str, Any]:
    whole = made.params(**{"preprocess__sample_rate": RATE, "train__epochs": 8, "train__augment__noise_snr_db": None}).model_dump()
    whole["features"]["toy"] = {"floor_db": -100.0}
    whole["train"]["augment"]["band_shift"] = 0
    whole["model"]["branches"] = ["log_mel_cnn", "toy_cnn", "transformer"]
    for key, value in changes.items():
        *path, last = key.split("__")
        section = whole
        for name in path:
            section = section[name]
        section[last] = value
    return whole


@pytest.fixture
def wider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two places: the schema, and the list of views."""
    monkeypatch.setattr(schema, "Params", WiderParams)
    monkeypatch.setattr(inference, "Features", Wider)  # reads model.json
    monkeypatch.setitem(features.VIEWS, "toy", ToyView)


def store(folder: Path) -> pd.DataFrame:
    """Noises of one spectrum whose class is how the level moves, which the toy view shows best."""
    random = np.random.default_rng(0)
    table, signals = made.table(), []
    for row, samples in enumerate(random.integers(8000, 14000, len(table))):
        course = np.linspace(-1, 1, samples) * (row % 3 - 1)  # falling, level, rising
        signals.append(0.1 * random.normal(size=samples) * 10 ** (0.6 * course))
    table["samples"] = [len(signal) for signal in signals]
    table["offset"] = np.cumsum([0, *table["samples"][:-1]])
    folder.mkdir()
    table.to_csv(folder / "clips.csv", index=False)
    np.save(folder / "audio.npy", to_int16(np.concatenate(signals)))
    part = ["valid" if row % 4 == 3 else "test" if row % 4 == 2 else "train" for row in range(len(table))]
    table.assign(fold=1, part=part)[["clip", "fold", "part"]].to_csv(folder / "folds.csv", index=False)
    return table


@pytest.mark.parametrize("kind", ["network", "svm"])
def test_a_view_goes_from_the_signal_to_the_exported_network(tmp_path, monkeypatch, wider, kind):
    monkeypatch.setenv("SER_WORKERS", "1")
    params = schema.parse(values(model__kind=kind))
    assert list(params.features.views) == ["log_mel", "mfcc", "toy"]
    table = store(tmp_path / "clips")
    extraction.build(tmp_path / "clips", tmp_path / "features", RATE, params.features, params.runtime)
    views = features.read(tmp_path / "features", params.features)
    assert views.frames["toy"].shape == (views.offsets[-1], 2)

    trained, file = made.trained(params), tmp_path / "fold1-seed0.safetensors"
    folders = tmp_path / "features", tmp_path / "clips", tmp_path / "clips/folds.csv"
    jobs.train([jobs.Job(*folders, trained, 1, 0, tmp_path / "check", file)], params.runtime, tmp_path / "log")
    trained.write(tmp_path)
    folds = pd.read_csv(folders[2])
    expected = inference.predict(tmp_path, tmp_path / "features", table, folds, CPU)
    pd.testing.assert_frame_equal(inference.predict(tmp_path, views, table, folds, CPU), expected)

    silent = features.Views({**views.frames, "toy": np.zeros_like(views.frames["toy"])}, views.offsets)
    assert not np.allclose(inference.predict(tmp_path, silent, table, folds, CPU)["p_sad"], expected["p_sad"], atol=1e-3), "it is read"
    if kind == "svm":
        return
    network = inference.load_network(tmp_path, inference.describe(tmp_path), 1, 0, CPU)
    assert {"mean_toy", "scale_toy"} <= set(network.state_dict())
    session = onnxruntime.InferenceSession(to_onnx([network]))
    assert [value.name for value in session.get_inputs()] == ["log_mel", "mfcc", "toy", "lengths"]
    own = {name: frames[None].astype(np.float32) for name, frames in views.clip(0).items()}
    p = session.run(None, {**own, "lengths": np.array([len(own["mfcc"][0])])})[0]
    corpus = batches.load(views, table, trained.classes, trained.features, CPU)
    np.testing.assert_allclose(p[0], inference.probabilities(network, corpus, np.array([0]), trained.max_frames), atol=1e-5)


@pytest.mark.parametrize("deltas", [False, True])
def test_augmentation_knows_how_silence_looks_and_what_a_gain_does(wider, deltas):
    settings = schema.parse(values(features__deltas=deltas)).features
    signal = np.random.default_rng(1).normal(0, 0.05, 6000)
    quiet, louder = (features.exact(one, RATE, settings) for one in (np.zeros(6000), signal * 10**0.3))
    before = features.exact(signal, RATE, settings)
    for view, frame in features.silence(settings).items():
        np.testing.assert_allclose(quiet[view], np.broadcast_to(frame, quiet[view].shape), atol=1e-3)
    for view, change in features.per_db(settings).items():
        np.testing.assert_allclose(louder[view], before[view] + 6 * change, atol=1e-2)


def test_a_gain_reaches_the_view_though_mfcc_is_computed_again(wider):
    params = schema.parse(values(train__augment__freq_masks=0, train__augment__time_masks=0, train__augment__speed=0.0))
    corpus = made.corpus(made.params())
    frames = torch.randn(len(corpus.views["mfcc"]), 2).half()
    silence, change = ({"toy": torch.from_numpy(one(params.features)["toy"])} for one in (features.silence, features.per_db))
    added = {"views": corpus.views | {"toy": frames}, "silence": corpus.silence | silence, "per_db": corpus.per_db | change}
    corpus = batches.Corpus(**{**vars(corpus), **added})
    draws = augment.draw(params.train.augment, 24, 0, 1, CPU)
    views, lengths = augment.augment(corpus, torch.arange(24), draws, params.train.augment, 1000, 50.0)
    first = int(lengths[0] - corpus.length[0])  # silence of the shift
    moved = views["toy"][0, first : lengths[0]] - frames[: corpus.length[0]].float()
    assert (views["toy"][0, first : lengths[0], 1] == frames[: corpus.length[0], 1]).all()
    assert moved[:, 0].std() < 1e-4
    assert 0.1 < abs(moved[:, 0].mean()) <= params.train.augment.gain_db


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__augment__band_shift": 2}, r"train\.augment.*toy cannot be computed again.*band_shift to 0"),
        ({"features__toy": None}, r"model\.branches: found 'toy_cnn'; allowed: log_mel_cnn \| mfcc_cnn \| transformer"),
        ({"model__transformer__view": "pitch"}, r"model\.transformer\.view: found 'pitch'; allowed: log_mel \| mfcc \| toy \| both"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_views_is_refused_by_name(wider, changes, message):
    with pytest.raises(schema.ParamsError, match=message):
        schema.parse(values(**changes))


def test_a_view_that_is_switched_off_leaves_everything_as_it_was(wider):
    params = schema.parse(values(features__toy=None, model__branches=["log_mel_cnn"]))
    signal = np.random.default_rng(1).normal(0, 0.05, 6000)
    stored, plain = (features.extract(signal, RATE, one) for one in (params.features, made.params().features))
    assert list(stored) == list(plain) == ["log_mel", "mfcc"]
    assert all(np.array_equal(stored[view], plain[view]) for view in plain)


def test_every_section_of_a_view_has_a_class_and_is_read_by_the_features_stage():
    sections = Features.model_fields
    assert list(features.VIEWS) == [name for name, field in sections.items() if _is_view(field.annotation)]
    stage = YAML(typ="safe", pure=True).load(made.ROOT / "dvc.yaml")["stages"]["features"]
    assert {f"features.{view}" for view in features.VIEWS} <= {*stage["params"]}


def _is_view(annotation: Any) -> bool:
    kinds = getattr(annotation, "__args__", (annotation,))
    return any(isinstance(kind, type) and issubclass(kind, ViewSection) for kind in kinds)
