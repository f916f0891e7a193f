"""openSMILE's functionals: its own numbers in the order of the clips, what is said without it, and the SVM that learns from them.

Most of it runs on a stand-in for the package; what needs the real one is skipped where it is not installed.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from ser import SerError
from ser.evaluation import degradation, robustness
from ser.model import baseline
from ser.params.export import Export
from ser.serving.bundle import BundleError
from ser.serving.export.card import card
from ser.serving.export.write import export
from ser.serving.predict import Predictor
from ser.signal import clips
from ser.training import batches, inference, without_epochs
from ser.views import extraction, features, functionals
from ser.views.normalise import scales
from tests import made, predicted
from tests.serving.test_predict import DEMO
from tests.training.test_loop import fold
from tests.views.test_features import RATE, RUNTIME, store

needs_opensmile = pytest.mark.skipif(
    importlib.util.find_spec("opensmile") is None, reason="opensmile, an optional package, is not installed"
)
LENGTHS = [4000, 300, 7000, 1, 2500]


def settings(chosen="egemaps", **changes):
    return made.params(features__functionals=chosen, model__kind="svm", **changes)


class Smile:
    """Stands in for opensmile.Smile: as many numbers, and a record of what it heard."""

    heard: list[tuple[int, int]]
    gives = 0.0
    """Added to every number."""

    def __init__(self, feature_set: str, feature_level: str) -> None:
        self.num_features = {"eGeMAPSv02": 88, "ComParE_2016": 6373}[feature_set]
        self.heard = []

    def __call__(self, signal: np.ndarray, sample_rate: int) -> np.ndarray:
        self.heard.append((len(signal), sample_rate))
        numbers = np.array([len(signal), np.abs(signal).mean(), signal.std(), 1.0], dtype=np.float32) + self.gives
        return np.resize(numbers, (1, self.num_features, 1))


@pytest.fixture
def stand_in(monkeypatch):
    module = types.ModuleType("opensmile")
    same_name = type("", (), {"__class_getitem__": classmethod(lambda cls, name: name)})
    levels = types.SimpleNamespace(Functionals="func")
    vars(module).update(Smile=type("Own", (Smile,), {}), FeatureSet=same_name, FeatureLevel=levels)
    monkeypatch.setitem(sys.modules, "opensmile", module)
    functionals.load.cache_clear()
    yield module.Smile
    functionals.load.cache_clear()


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)  # importing it fails
    functionals.load.cache_clear()
    yield
    functionals.load.cache_clear()


@pytest.mark.parametrize(("chosen", "count"), [("egemaps", 88), ("compare", 6373)])
def test_store_holds_one_vector_for_each_clip_in_order(tmp_path, stand_in, chosen, count):
    source = store(tmp_path / "clips", LENGTHS * 8)  # more clips than a worker takes at once
    extraction.build(source, tmp_path / "features", RATE, settings(chosen).features, RUNTIME)
    found = np.load(tmp_path / "features/functionals.npy", allow_pickle=False)
    assert (found.shape, found.dtype) == ((len(LENGTHS) * 8, count), np.float32)
    opened, views = clips.read(source, RATE), features.read(tmp_path / "features", settings(chosen).features)
    np.testing.assert_array_equal(views.functionals, found)
    for row, length in enumerate(LENGTHS * 8):
        heard = np.pad(opened.signal(row), (0, max(0, 960 - length)))
        np.testing.assert_allclose(found[row, :4], [max(960, length), np.abs(heard).mean(), heard.std(), 1], rtol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_a_clip_shorter_than_a_frame_is_filled_up_with_silence(stand_in, rate):
    for length in (1, rate * 6 // 100, rate):
        functionals.functionals(np.ones(length, np.float32), rate, "egemaps")
    assert functionals.load("egemaps").heard == [(rate * 6 // 100, rate), (rate * 6 // 100, rate), (rate, rate)]


def test_numbers_that_are_none_are_refused(stand_in):
    stand_in.gives = np.nan
    with pytest.raises(SerError, match=r"eGeMAPSv02 of a clip of 0\.500 s"):
        functionals.functionals(np.ones(8000, np.float32), 16000, "egemaps")


def test_an_opensmile_with_other_functionals_is_refused(stand_in, monkeypatch):
    monkeypatch.setitem(functionals.SETS, "egemaps", ("ComParE_2016", 88))
    with pytest.raises(SerError, match="has 6373 functionals in ComParE_2016, not 88"):
        functionals.load("egemaps")


def test_without_the_package_it_says_what_to_install_and_under_what_licence_and_leaves_nothing(tmp_path, absent):
    source = store(tmp_path / "clips", LENGTHS)
    with pytest.raises(SerError, match=r"features\.functionals compare .* non-commercial use only.* pip install -e '\.\[opensmile\]'"):
        extraction.build(source, tmp_path / "features", RATE, settings("compare").features, RUNTIME)
    assert not (tmp_path / "features").exists()


def test_without_functionals_the_store_is_as_ever_and_with_them_the_views_stay(tmp_path, stand_in):
    source = store(tmp_path / "clips", LENGTHS)
    extraction.build(source, tmp_path / "with", RATE, settings().features, RUNTIME)
    extraction.build(source, tmp_path / "without", RATE, made.params().features, RUNTIME)
    stored = {path.name: path.read_bytes() for path in (tmp_path / "without").iterdir()}
    assert set(stored) == {"log_mel.npy", "mfcc.npy", "offsets.npy"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "with").iterdir() if path.name != "functionals.npy"} == stored
    assert features.read(tmp_path / "without", made.params().features).functionals is None


def test_the_package_is_not_imported_unless_it_is_asked_for():
    modules = "stages.features, stages.train, stages.evaluate, stages.export, ser.training.jobs, ser.serving.cli"
    code = f"import sys, {modules}; print('opensmile' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=made.ROOT)
    assert done.stdout == "False\n"


@needs_opensmile
@pytest.mark.parametrize("chosen", ["egemaps", "compare"])
def test_values_are_opensmiles_and_the_same_bytes_again_and_from_two_processes(tmp_path, chosen):
    import opensmile

    source = store(tmp_path / "clips", [9000, 100, 16000] * 11)
    written = []
    for run, workers in enumerate((1, 2)):
        folder = tmp_path / str(run)
        extraction.build(source, folder, RATE, settings(chosen).features, RUNTIME.model_copy(update={"workers": workers}))
        written.append((folder / "functionals.npy").read_bytes())
    assert written[0] == written[1]
    name = {"egemaps": opensmile.FeatureSet.eGeMAPSv02, "compare": opensmile.FeatureSet.ComParE_2016}[chosen]
    smile = opensmile.Smile(name, opensmile.FeatureLevel.Functionals)
    found = features.read(tmp_path / "0", settings(chosen).features).functionals
    opened = clips.read(source, RATE)
    np.testing.assert_array_equal(found[2], smile.process_signal(opened.signal(2), RATE).to_numpy()[0])
    np.testing.assert_array_equal(found[31], smile.process_signal(np.pad(opened.signal(31), (0, 860)), RATE).to_numpy()[0])
    assert len(smile.column_names) == functionals.SETS[chosen][1]


@needs_opensmile
@pytest.mark.parametrize("rate", [8000, 48000])
def test_silence_and_every_rate_give_finite_numbers(rate):
    for signal in (
        np.zeros(rate // 2, np.float32),
        np.ones(5, np.float32),
        np.random.default_rng(0).normal(0, 0.3, rate // 2).clip(-1, 0.99),
    ):
        assert np.isfinite(functionals.functionals(signal.astype(np.float32), rate, "compare")).all()


def written(folder: Path, values: np.ndarray) -> Path:
    """A features folder for ``made.table`` with these functionals."""
    folder.mkdir(exist_ok=True)
    params = made.params()
    for view, wide in features.widths(params.features).items():
        np.save(folder / f"{view}.npy", np.zeros((2 * len(values), wide), np.float16))
    np.save(folder / "offsets.npy", np.arange(0, 2 * len(values) + 1, 2))
    np.save(folder / "functionals.npy", values)
    return folder


def drawn(clips: int = 24, count: int = 7) -> np.ndarray:
    """Functionals of very different units, which tell of class and, more loudly, of speaker."""
    random = np.random.default_rng(0)
    row = np.arange(clips)
    values = random.normal(0, 0.5, (clips, count)) + (row % 3)[:, None] * random.normal(1, 0.2, count) + 5 * (row % 4)[:, None]
    values[:, 0] *= 1e-6
    values[:, 1] *= 1e6
    values[:, 2] = 0.1  # constant, and not exactly so in binary
    return values.astype(np.float32)


def loaded(tmp_path: Path, **changes) -> batches.Corpus:
    params = settings(**changes)
    return batches.load(str(written(tmp_path / "features", drawn())), made.table(), made.CLASSES, params.features, torch.device("cpu"))


def test_corpus_has_them_as_they_are_and_speaker_by_each_speakers_own_clips(tmp_path):
    values = drawn()
    np.testing.assert_array_equal(loaded(tmp_path).functionals, values)
    found = loaded(tmp_path, features__normalise="speaker").functionals.numpy()
    for speaker in range(4):
        own = values[speaker::4].astype(np.float64)
        for column in range(7):
            expected = np.zeros(6) if column == 2 else (own[:, column] - own[:, column].mean()) / own[:, column].std()
            np.testing.assert_allclose(found[speaker::4, column], expected, atol=1e-6)


def test_functionals_that_are_missing_or_of_other_clips_are_refused(tmp_path):
    folder = written(tmp_path / "features", drawn())
    np.save(folder / "functionals.npy", drawn(23))
    with pytest.raises(SerError, match=r"functionals\.npy is damaged or of another run: it holds 23 rows, offsets\.npy counts 24"):
        features.read(folder, settings().features)
    (folder / "functionals.npy").unlink()
    with pytest.raises(SerError, match=r"no functionals\.npy: run the features stage again"):
        batches.load(str(folder), made.table(), made.CLASSES, settings().features, torch.device("cpu"))


def test_constants_are_left_out_and_small_units_are_not():
    values = np.array([[1e-7, 5.0, 0.0, 1e6], [3e-7, 5.0, 0.0, 1e6 + 0.1]])
    np.testing.assert_allclose(scales(values), [1e-7, np.inf, np.inf, np.inf])


@pytest.mark.parametrize("normalise", ["corpus", "speaker"])
def test_the_svm_learns_from_them_alone_and_decides_as_scikit_learns(tmp_path, normalise):
    params = settings(features__normalise=normalise)
    corpus, parts = loaded(tmp_path, features__normalise=normalise), fold(tmp_path)
    weights, history = without_epochs.train_svm(corpus, parts, made.trained(params), lambda line: None)
    machine = baseline.Svm.shaped(weights)
    machine.load_state_dict(weights)
    x = corpus.functionals.double().numpy()[:, [0, 1, 3, 4, 5, 6]]
    mean, scale = x[parts.train].mean(0), x[parts.train].std(0)
    x = (x - mean) / scale
    target = corpus.target.numpy()
    logits = machine.decisions(corpus.functionals)
    for number in range(3):
        oracle = SVC(C=1.0, gamma=1 / 7, class_weight="balanced").fit(x[parts.train], target[parts.train] == number)
        np.testing.assert_allclose(logits[:, number], oracle.decision_function(x), atol=1e-4)
    p = inference.probabilities(machine, corpus, parts.valid, 3)
    np.testing.assert_allclose(p, logits.double().softmax(1)[parts.valid], atol=1e-12)
    assert history[0]["valid_ua"] == pytest.approx(
        np.mean([(p.argmax(1) == target[parts.valid])[target[parts.valid] == k].mean() for k in range(3)]), abs=1e-5
    )
    if normalise == "speaker":
        assert history[0]["valid_ua"] == 1.0, "with the speakers' offsets gone the classes are plain"


def test_a_column_that_was_constant_in_training_stays_silent_in_a_test_clip():
    values = drawn().astype(np.float64)
    machine = baseline.fit(values, np.arange(24) % 3, 3)
    other = torch.from_numpy(values[:2].astype(np.float32))
    moved = other.clone()
    moved[:, 2] += 1e4
    torch.testing.assert_close(machine.decisions(moved), machine.decisions(other), rtol=0, atol=0)


def test_spoilt_clips_get_functionals_of_their_own(tmp_path, stand_in, monkeypatch):
    monkeypatch.setenv("SER_WORKERS", "1")
    table = predicted.clips(speakers=4, takes=4)
    source = store(tmp_path / "clips", [3000 + 10 * number for number in range(len(table))])
    stored = clips.read_table(source)
    stored["clip"], stored["emotion"], stored["speaker"] = (table[name].to_numpy() for name in ("clip", "emotion", "speaker"))
    stored.to_csv(source / "clips.csv", index=False)
    predictions, seen = predicted.predictions(table, folds=4), []

    def predict(views, chosen):
        seen.append(views)
        return predictions[predictions["clip"].isin(chosen["clip"])]

    rows, params = np.array([1, 5, 6, 14]), settings()
    robustness.study(source, rows, predicted.settings(), params.features, RATE, params.runtime, predict)
    opened = clips.read(source, RATE)
    clean = np.stack([functionals.functionals(opened.signal(row), RATE, "egemaps") for row in rows])
    np.testing.assert_array_equal(seen[0].functionals, clean)
    for condition, views in list(zip(degradation.conditions(predicted.settings().robustness), seen, strict=True))[1:]:
        assert not np.array_equal(views.functionals, clean), condition


def test_such_a_model_is_described_with_its_licence_and_not_exported(tmp_path):
    for normalise, told in (("corpus", "eGeMAPSv02 tells"), ("speaker", "eGeMAPSv02 (normalised by each speaker's own recordings) tells")):
        models = tmp_path / normalise
        models.mkdir()
        made.trained(settings(features__normalise=normalise)).write(models)
        facts = export(models, tmp_path / "exports" / normalise, DEMO, None, Export(model="folds", precision="auto"))
        text = (tmp_path / "exports" / normalise / "README.md").read_text()
        assert text == card(facts, 0)
        assert f"the 88 functionals of openSMILE's {told}" in text
        assert "research and other non-commercial use only" in text
        assert "ser predict" not in text
        with pytest.raises(BundleError, match=r"holds no network .*svm"):
            Predictor(tmp_path / "exports" / normalise)
