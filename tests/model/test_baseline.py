"""The support vector machine against scikit-learn's own, its statistics against numpy, and through training and inference."""

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.svm import SVC

from ser.model import baseline
from ser.training import inference, without_epochs
from tests import made
from tests.training.test_loop import fold


def test_statistics_by_numpy_with_padding_left_out():
    random = np.random.default_rng(0)
    views = {view: torch.from_numpy(random.normal(size=(2, 9, width)).astype(np.float32)) for view, width in (("a", 3), ("b", 2))}
    found = baseline.clip_statistics(views, torch.tensor([9, 4]))
    for row, length in enumerate((9, 4)):
        x = np.concatenate([frames[row, :length] for frames in views.values()], 1)
        expected = np.concatenate([x.mean(0), x.std(0), x.max(0), np.abs(np.diff(x, axis=0)).mean(0)])
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_one_frame_has_statistics():
    found = baseline.clip_statistics({"a": torch.ones(1, 5, 3), "b": torch.ones(1, 5, 2)}, torch.tensor([1]))
    assert torch.isfinite(found).all()


def test_decisions_are_those_of_scikit_learn():
    random = np.random.default_rng(1)
    params = made.params()
    corpus = made.corpus(params)
    rows = torch.arange(24)
    spans = list(zip(corpus.start, corpus.length, strict=True))
    padded = {
        name: torch.nn.utils.rnn.pad_sequence([frames[s : s + n].float() for s, n in spans], True) for name, frames in corpus.views.items()
    }
    statistics = baseline.clip_statistics(padded, corpus.length)
    noisy = statistics.numpy() + random.normal(0, 0.5, statistics.shape)
    machine = baseline.fit(noisy, corpus.target.numpy(), 4)
    logits = machine(padded, corpus.length).numpy()
    x, queries = ((values - noisy.mean(0)) / noisy.std(0) for values in (noisy, statistics.numpy()))
    for number in range(3):
        oracle = SVC(C=1.0, gamma=1 / x.shape[1], class_weight="balanced").fit(x, corpus.target[rows].numpy() == number)
        np.testing.assert_allclose(logits[:, number], oracle.decision_function(queries), atol=1e-4)
    np.testing.assert_array_equal(logits[:, 3], -1, err_msg="a class that training lacks never wins over a likely one")


def test_it_trains_is_stored_and_predicts_like_a_network(tmp_path):
    params = made.params(model__kind="svm")
    about = made.trained(params)
    corpus = made.corpus(params)
    weights, history = without_epochs.train_svm(corpus, fold(tmp_path), about, print)
    assert history[0]["valid_ua"] == 1.0
    save_file(weights, tmp_path / "fold1-seed0.safetensors")
    about.write(tmp_path)
    loaded = inference.load_network(tmp_path, inference.describe(tmp_path), 1, 0, torch.device("cpu"))
    p = inference.probabilities(loaded, corpus, np.arange(24), about.max_frames)
    np.testing.assert_allclose(p.sum(1), 1)
    assert (p.argmax(1) == corpus.target.numpy()).mean() > 0.9
