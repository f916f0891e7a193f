"""Spoilt copies in training: those of training clips are heard, those of other clips never, and scores are of clips alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ser import SerError
from ser.encoders.store import Encoded
from ser.params import Params
from ser.training import batches, hidden, inference, jobs, loop, without_epochs
from ser.training.batches import Corpus
from ser.views.features import Views
from tests import made
from tests.training.test_jobs import planned, runtime
from tests.training.test_loop import fold, same

COPIES = {
    "count": 2, "room_share": 0.3, "noise_share": 0.7, "babble_share": 0.3, "snr_db": [0.0, 30.0], "line_share": 0.3, "gain_db": 6.0,
    "seed": 0,
}  # fmt: skip
LINEAR = {"model__kind": "linear", "features__encoder": {"name": "made", "layers": [1, 2, 4]}}
ENCODER = {
    "model__branches": ["log_mel_cnn", "mfcc_cnn", "encoder"],
    "features__encoder": {"name": "made", "layers": [1, 2, 4]},
    "train__augment__speed": 0.0,
    "train__augment__shift_seconds": 0.0,
}
KINDS = {
    "network": {},
    "encoder": ENCODER,
    "warm start": {**ENCODER, "train__warm_start": "linear"},
    "svm": {"model__kind": "svm"},
    "linear": LINEAR,
}


def heard(params: Params, broken: bool = False) -> Views:
    """The made corpus as the stages write it, with copies that are louder; with ``broken`` those of validation clips are unusable."""
    clean, (states, _) = made.corpus(params), made.encoded(params)
    unusable = np.arange(24) % 4 == 3  # the validation clips of test_loop.fold
    frames, offsets = {}, np.concatenate([[0], np.cumsum(clean.length.numpy())])

    def copies(values: np.ndarray, places: np.ndarray) -> np.ndarray:
        spoilt = values + np.float16(6.0)
        if broken:
            for row in np.flatnonzero(unusable):
                spoilt[places[row] : places[row + 1]] = np.nan
        return np.concatenate([values, spoilt, spoilt])

    for name, values in clean.views.items():
        frames[name] = copies(values.numpy(), offsets)
    every = [np.concatenate([[0], np.cumsum(np.tile(np.diff(places), 3))]) for places in (offsets, states.offsets)]
    encoded = Encoded(copies(states.states, states.offsets), every[1], states.facts, copies=2)
    return Views(frames, every[0], None, encoded, copies=2)


def corpus(params: Params, broken: bool = False, copies: bool = True) -> Corpus:
    table = made.table()
    table["samples"] = made.encoded(params)[1]
    return inference.load_corpus(about(params), heard(params, broken), None, table, torch.device("cpu"), copies)


def about(params: Params) -> inference.Trained:
    trained = made.trained(params)
    return replace(trained, encoder=made.ENCODER) if params.model.reads_encoder else trained


def fitted(params: Params, tmp_path, broken: bool = False, copies: bool = True):
    fit = {"svm": without_epochs.train_svm, "linear": without_epochs.train_linear}.get(params.model.kind, loop.train_fold)
    return fit(corpus(params, broken, copies), fold(tmp_path), about(params), lambda line: None)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_training_clips_change_the_weights_and_those_of_other_clips_do_not(tmp_path, kind):
    params = made.params(features__copies=COPIES, train__epochs=2, **KINDS[kind])
    weights, history = fitted(params, tmp_path / "a")
    unusable, again = fitted(params, tmp_path / "b", broken=True)
    without, _ = fitted(params, tmp_path / "c", copies=False)
    assert same(weights, unusable)
    assert history == again
    assert weights.keys() != without.keys() or any(not torch.equal(weights[name], without[name]) for name in weights)
    if kind == "warm start":
        assert not torch.equal(weights["linear.weight"], without["linear.weight"])
    assert all(torch.isfinite(value).all() for name, value in weights.items() if name != "scale" and "linear" not in name)


def test_without_copies_only_the_clips_are_left():
    params = made.params(features__copies=COPIES, **ENCODER)
    alone, clean = heard(params, broken=True).without_copies(), made.corpus(params)
    assert (len(heard(params)), len(alone), alone.copies) == (24, 24, 0)
    for name, values in clean.views.items():
        np.testing.assert_array_equal(alone.frames[name], values.numpy())
    assert alone.encoded is not None
    np.testing.assert_array_equal(alone.encoded.states, made.encoded(params)[0].states)
    loaded = corpus(params, copies=False)
    assert (len(loaded.start), loaded.clips, loaded.copies) == (24, 24, 0)


def test_rows_of_copies_have_label_speaker_and_place_of_their_clip():
    params = made.params(features__copies=COPIES, **ENCODER)
    found = corpus(params)
    assert (len(found.start), found.clips, found.copies) == (72, 24, 2)
    assert torch.equal(found.target, made.corpus(params).target.repeat(3))
    assert torch.equal(found.group, made.corpus(params).group.repeat(3))
    assert torch.equal(found.length, made.corpus(params).length.repeat(3))
    for row in (0, 23, 24, 71):
        one = torch.tensor([row])
        views, _ = batches.gather(found, one, torch.zeros_like(one), found.length[one])
        clean, _ = batches.gather(found, one % 24, torch.zeros_like(one), found.length[one])
        expected = clean["log_mel"] + (6.0 if row >= 24 else 0.0)
        torch.testing.assert_close(views["log_mel"], expected, atol=0.1, rtol=0)
        torch.testing.assert_close(views["encoder"], clean["encoder"] + (6.0 if row >= 24 else 0.0), atol=0.1, rtol=0)
    assert isinstance(found.hidden, hidden.Hidden)


def test_states_and_features_of_different_copies_are_refused():
    params = made.params(features__copies=COPIES, **LINEAR)
    views = heard(params)
    assert views.encoded is not None
    mixed = replace(views, encoded=views.encoded.without_copies())
    table = made.table()
    table["samples"] = made.encoded(params)[1]
    with pytest.raises(SerError, match="hidden states of 0 copies of each clip, features of 2"):
        inference.load_corpus(about(params), mixed, None, table, torch.device("cpu"), copies=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features__normalise": "speaker"}, "features.copies: a speaker's scale"),
        ({"train__augment__noise_domain": "waveform"}, "features.copies: noise on recordings"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, said):
    with pytest.raises(SerError, match=said):
        made.params(features__copies=COPIES, **changes)


@pytest.mark.parametrize("kind", ["network", "svm"])
def test_the_train_stage_reads_the_copies_of_training_clips(tmp_path, kind):
    weights = {}
    for name, copies in (("heard", COPIES), ("broken", COPIES), ("alone", None)):
        (job,) = planned(tmp_path / name, folds=(1,), features__copies=copies, **KINDS[kind])
        if copies is not None:
            views = heard(made.params(features__copies=COPIES, **KINDS[kind]))
            for view, frames in views.frames.items():
                frames = np.array(frames)
                if name == "broken":  # the copies of clips that fold 1 does not train on
                    for row in (row for row in range(24, 72) if row % 4 in (0, 1)):
                        frames[views.offsets[row] : views.offsets[row + 1]] = np.nan
                np.save(job.features / f"{view}.npy", frames)
            np.save(job.features / "offsets.npy", views.offsets)
        jobs.train([job], runtime(1), tmp_path / f"{name}.log", shown=False)
        weights[name] = job.out.read_bytes()
    assert weights["heard"] == weights["broken"] != weights["alone"]
