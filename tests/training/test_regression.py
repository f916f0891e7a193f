"""The regression on pooled hidden states: against scikit-learn, its choice of layers, and through training and inference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from ser.encoders.pooled import own_tokens, pooled
from ser.model import encoder_branch, linear
from ser.model.linear import Linear
from ser.params.model import Linear as LinearParams
from ser.training import inference, without_epochs
from tests import made
from tests.training.test_loop import fold

WIDTH, STORED = 6, [1, 2, 4]


def vectors(clips: int = 60, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pooled columns of three layers, whose class shows in the second alone."""
    random = np.random.default_rng(seed)
    target = np.arange(clips) % classes
    values = random.normal(0, 1, (clips, 3 * WIDTH)).astype(np.float32)
    values[:, WIDTH : WIDTH + classes] += 4 * np.eye(classes, dtype=np.float32)[target]
    return 100 * values + 300, target


def auto(strength: float = 0.01) -> LinearParams:
    return LinearParams(layers="auto", C=strength)


def test_pooled_by_numpy_layer_by_layer():
    states = np.random.default_rng(0).normal(0, 100, (7, 2, 3)).astype(np.float16)
    wide = states.astype(np.float64)
    expected = np.concatenate([part for layer in range(2) for part in (wide[:, layer].mean(0), wide[:, layer].std(0))])
    np.testing.assert_allclose(pooled(states), expected, rtol=1e-6)
    mask = torch.tensor([[True] * 7 + [False] * 2])
    padded = torch.cat([torch.from_numpy(states).float(), torch.full((2, 2, 3), 1e4)])[None]
    np.testing.assert_allclose(encoder_branch.pooled(padded, mask)[0], expected, rtol=1e-4)
    with pytest.raises(ValueError, match="at least one token"):
        pooled(states[:0])


def test_own_tokens_leave_out_the_silence():
    stored, samples = np.array([120, 51, 2, 9]), np.array([16000, 16001, 10, 16000])
    assert own_tokens(stored, samples, 16000, 50.0).tolist() == [50, 51, 1, 9]
    assert own_tokens(stored[:1], np.array([48000]), 48000, 50.0).tolist() == [50]


@pytest.mark.parametrize("classes", [2, 3])
def test_decisions_are_those_of_scikit_learn(classes):
    values, target = vectors(classes=classes)
    train, rest = np.arange(40), np.arange(40, 60)
    found = linear.fit(values, target, train, rest, STORED, classes, LinearParams(layers=[1, 2, 4], C=0.01))
    x = (values - values[train].mean(0)) / values[train].std(0)
    oracle = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000).fit(x[train], target[train])
    p = found.machine.decisions(torch.from_numpy(values[rest])).softmax(1)
    np.testing.assert_allclose(p, oracle.predict_proba(x[rest]), atol=1e-4)
    wide = found.machine.widened(values.shape[1])
    np.testing.assert_array_equal(wide.decisions(torch.from_numpy(values)), found.machine.decisions(torch.from_numpy(values)))


def test_auto_takes_the_layer_that_validation_likes_and_never_sees_test_clips():
    values, target = vectors()
    values[50:] = np.nan  # test clips: scikit-learn would refuse them, and the scores would be lost
    found = linear.fit(values, target, np.arange(30), np.arange(30, 50), STORED, 3, auto())
    assert found.layers == (2,)
    assert found.machine.columns.tolist() == list(range(WIDTH, 2 * WIDTH))
    assert torch.isfinite(found.machine.weight).all()
    wide = found.machine.widened(3 * WIDTH)
    clean = vectors()[0]
    torch.testing.assert_close(wide.decisions(torch.from_numpy(clean)), found.machine.decisions(torch.from_numpy(clean)))


def test_a_tie_goes_to_fewer_layers_and_training_labels_alone_decide_weights():
    values, target = vectors()
    values[:, WIDTH:] = np.tile(values[:, WIDTH : 2 * WIDTH], 2)  # the third layer repeats the second
    train, valid = np.arange(30), np.arange(30, 50)
    assert linear.fit(values, target, train, valid, STORED, 3, auto()).layers == (2,)
    turned = target.copy()
    turned[valid] = (turned[valid] + 1) % 3
    one, other = (
        linear.fit(values, labels, train, valid, STORED, 3, LinearParams(layers=[2], C=0.01)).machine for labels in (target, turned)
    )
    torch.testing.assert_close(one.weight, other.weight, rtol=0, atol=0)


def test_a_class_that_training_lacks_is_never_answered():
    values, target = vectors()
    train = np.flatnonzero(target[:40] != 1)
    machine = linear.fit(values, target, train, np.arange(40, 60), STORED, 3, auto()).machine
    assert machine.decisions(torch.from_numpy(values)).softmax(1)[:, 1].max() < 1e-9


def test_constant_columns_are_left_out():
    values, target = vectors()
    values[:, WIDTH + 5] = 7.0
    machine = linear.fit(values, target, np.arange(40), np.arange(40, 60), STORED, 3, LinearParams(layers=[2], C=0.01)).machine
    changed = values.copy()
    changed[:, WIDTH + 5] = 1e6
    np.testing.assert_array_equal(machine.decisions(torch.from_numpy(values)), machine.decisions(torch.from_numpy(changed)))


@pytest.mark.parametrize("normalise", ["corpus", "speaker"])
def test_it_trains_is_stored_and_predicts_like_a_network(tmp_path, normalise):
    params = made.params(model__kind="linear", features__encoder={"name": "made", "layers": STORED}, features__normalise=normalise)
    about = replace(made.trained(params), encoder=made.ENCODER)
    corpus = made.hearing(params)
    assert corpus.hidden.states is None
    weights, history = without_epochs.train_linear(corpus, fold(tmp_path), about, print)
    assert history[0]["valid_ua"] == 1.0
    save_file(weights, tmp_path / "fold1-seed0.safetensors")
    about.write(tmp_path)
    read = inference.describe(tmp_path)
    assert read.encoder == made.ENCODER
    loaded = inference.load_network(tmp_path, read, 1, 0, torch.device("cpu"))
    p = inference.probabilities(loaded, corpus, np.arange(24), about.max_frames)
    np.testing.assert_allclose(p.sum(1), 1)
    assert (p.argmax(1) == corpus.target.numpy()).mean() > 0.9
    again, _ = without_epochs.train_linear(corpus, fold(tmp_path), about, print)
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_a_regression_is_widened_where_it_lies():
    """A GPU's stays on the GPU; the device `meta` stands for it here."""
    narrow = Linear(3, 2).to("meta")
    assert {value.device.type for value in narrow.widened(5).state_dict().values()} == {"meta"}
