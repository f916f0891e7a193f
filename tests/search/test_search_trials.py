"""Trials: their score, their order, and that test clips stay out of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import recall_score

from ser import SerError
from ser.params import Params
from ser.search import study, trials
from ser.search.space import Axis
from ser.training import inference, jobs
from ser.views import features
from tests import made
from tests.search.made_search import DIM, LR, project, run, search, shown, with_values
from tests.training.test_teacher import stored


@pytest.fixture
def formula(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Put a formula of (parameters, fold, seed) in the place of training; what it returns is the UA of the last epoch."""

    def put_in(ua: Callable[[inference.Trained, int, int], float]) -> None:
        def train(jobs: list[jobs.Job], runtime: object, log: Path, shown: bool) -> list[dict]:
            (job,) = jobs
            return [{"valid_ua": 0.9}, {"valid_ua": ua(job.trained, job.fold, job.seed)}]

        monkeypatch.setattr(jobs, "train", train)

    return put_in


def near_a_thousandth(trained: inference.Trained, fold: int, seed: int) -> float:
    """Best at a rate of 0.001, on the first fold a little better than on others."""
    return 0.8 - 0.2 * abs(math.log10(trained.train.lr) + 3) - 0.01 * fold


def test_score_is_the_ua_of_the_kept_networks_on_validation_clips(tmp_path):
    params = with_values(project(tmp_path), train__seeds=[0, 1])
    (outcome,), _ = run(search(tmp_path, params, folds=(1, 3), space=(DIM,)), 1)
    assert outcome.chosen == {"model.dim": 16}  # params.yaml as it is
    corpus, found = made.corpus(params), {}
    for fold in (1, 3):
        found[fold] = []
        for seed in (0, 1):
            about = made.trained(params)
            files = tmp_path / "check", tmp_path / "weights"
            data = tmp_path / "data"
            jobs.train(
                [jobs.Job(data / "features/demo", data / "clips/demo", data / "folds/demo.csv", about, fold, seed, *files)],
                params.runtime,
                tmp_path / "log",
            )
            files[0].unlink()
            network = inference.new_network(about)
            network.load_state_dict(load_file(files[1]))
            valid = np.arange(0, 24, 4)  # speaker s0
            p = inference.probabilities(network, corpus, valid, about.max_frames)
            found[fold].append(recall_score(corpus.target.numpy()[valid], p.argmax(1), average="macro"))
    assert outcome.fold_ua == pytest.approx({fold: np.mean(ua) for fold, ua in found.items()}, abs=1e-4)
    assert outcome.ua == pytest.approx(np.mean(list(found.values())), abs=1e-4)


@pytest.mark.parametrize(("keep", "ua"), [("last", 0.25), ("best", 0.9)])
def test_score_is_that_of_the_epoch_whose_weights_are_kept(tmp_path, formula, keep, ua):
    formula(lambda trained, fold, seed: 0.25)
    (outcome,), _ = run(search(tmp_path, with_values(project(tmp_path), train__keep=keep)), 1)
    assert outcome.ua == ua


def poison(root: Path, params: Params, part: str) -> int:
    """Make the clips of a part of fold 1 unusable and mislabel them; returns their number."""
    parts = pd.read_csv(root / "data/folds/demo.csv")
    table = made.table()
    rows = np.flatnonzero(table["clip"].isin(parts.loc[(parts["fold"] == 1) & (parts["part"] == part), "clip"]))
    corpus = made.corpus(params)
    for view in features.VIEWS:
        frames = corpus.views[view].numpy()
        for row in rows:
            frames[int(corpus.start[row]) : int(corpus.start[row] + corpus.length[row])] = np.nan
        np.save(root / f"data/features/demo/{view}.npy", frames)
    table.loc[rows, "emotion"] = "happy"
    table.to_csv(root / "data/clips/demo/clips.csv", index=False)
    return len(rows)


def test_test_clips_are_never_used(tmp_path):
    params = project(tmp_path, epochs=6)
    before, _ = run(search(tmp_path, params, "before"), 2)
    assert poison(tmp_path, params, "test") == 6
    after, _ = run(search(tmp_path, params, "after"), 2)
    assert before == after
    assert before[0].ua > 0.4, "it has learnt something that poison could spoil"
    assert poison(tmp_path, params, "valid") == 6
    assert run(search(tmp_path, params, "valid"), 2)[0] != before
    assert poison(tmp_path, params, "train") == 12
    with pytest.raises(ValueError, match="must be finite"):
        run(search(tmp_path, params, "train"), 2)


def test_first_trial_is_params_yaml_where_it_lies_in_the_space(tmp_path, formula):
    formula(near_a_thousandth)
    params = with_values(project(tmp_path), train__lr=0.005)
    assert run(search(tmp_path, params), 1)[0][0].chosen == {"train.lr": 0.005}
    outside = with_values(params, train__lr=0.5)
    assert 1e-4 <= run(search(tmp_path, outside, "outside"), 1)[0][0].chosen["train.lr"] <= 1e-2


def test_first_trial_is_params_yaml_where_a_whole_number_is_drawn_for_a_fraction(tmp_path, formula):
    formula(near_a_thousandth)
    params = with_values(project(tmp_path), train__augment__gain_db=5)
    space = (Axis("train.augment.gain_db", "int", (0, 6)),)
    assert run(search(tmp_path, params, space=space), 1)[0][0].chosen == {"train.augment.gain_db": 5}


@pytest.mark.slow
def test_same_seed_same_trials_and_they_find_the_best(tmp_path, formula):
    formula(near_a_thousandth)
    params = with_values(project(tmp_path), train__lr=0.01)
    space = (LR, DIM, Axis("train.epochs", "int", (1, 9)))
    found = [run(search(tmp_path, params, name, space, seed=seed), 30)[0] for name, seed in [("a", 0), ("b", 0), ("c", 1)]]
    assert found[0] == found[1]
    assert found[0][1:] != found[2][1:]
    about = search(tmp_path, params, "a")
    best = shown(about)[0]
    assert best.chosen["train.lr"] == pytest.approx(1e-3, rel=0.3)
    assert max(study.importances(study.find(about.folder)).items(), key=lambda item: item[1])[0] == "train.lr"
    assert all(float(f"{one.chosen['train.lr']:.4g}") == one.chosen["train.lr"] for one in found[0])


def test_little_is_said_of_few_trials(tmp_path, formula):
    formula(near_a_thousandth)
    about = search(tmp_path, project(tmp_path), space=(LR, DIM))
    run(about, 3)
    assert study.importances(study.find(about.folder)) == {}


@pytest.mark.parametrize("when", [1, 5, 14])
def test_interrupted_search_ends_in_the_same_trials(tmp_path, formula, when):
    """It stops before its ``when``-th training, and once more right after it began again."""
    params = project(tmp_path)
    formula(near_a_thousandth)
    undisturbed, begun = run(search(tmp_path, params, "undisturbed", (LR, DIM), (1, 2)), 10)
    assert len(begun) >= 14
    about = search(tmp_path, params, "disturbed", (LR, DIM), (1, 2))
    calls = 0

    def interrupted(trained: inference.Trained, fold: int, seed: int) -> float:
        nonlocal calls
        calls += 1
        if calls in (when, when + 1):
            raise KeyboardInterrupt
        return near_a_thousandth(trained, fold, seed)

    formula(interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(about, 10)
    run(about, 10)
    assert sorted(shown(about), key=lambda one: one.number) == undisturbed
    assert calls == len(begun) + 2, "a finished fold is not trained again"
    assert sorted(path.name for path in about.folder.iterdir()) == ["study.lock", "study.sqlite"]


def test_bad_trials_are_given_up_after_a_fold(tmp_path, formula):
    formula(near_a_thousandth)
    about = search(
        tmp_path, with_values(project(tmp_path), train__lr=0.001), space=(Axis("train.lr", "log", (1e-4, 1e-1)),), folds=(1, 2, 3)
    )
    outcomes, begun = run(about, 20)
    assert all(one.state == "finished" for one in outcomes[:5])
    pruned = [one for one in outcomes if one.state == "pruned"]
    assert pruned
    for one in pruned:
        before = [other.fold_ua[1] for other in outcomes[: one.number] if other.state == "finished"]
        assert len(one.fold_ua) < 3
        assert one.fold_ua[1] < np.median(before)
    assert len(begun) == sum(len(one.fold_ua) for one in outcomes) < 60
    states = [one.state for one in shown(about)]
    assert states == sorted(states, key=["finished", "pruned"].index)


def test_good_first_fold_does_not_save_a_trial_for_good(tmp_path, formula):
    begun = 0

    def falls(trained: inference.Trained, fold: int, seed: int) -> float:
        nonlocal begun
        begun += fold == 1
        return {1: 0.9, 2: 0.7 if begun <= 5 else 0.5, 3: 0.7}[fold]

    formula(falls)
    outcomes, _ = run(search(tmp_path, project(tmp_path), folds=(1, 2, 3)), 7)
    assert [one.state for one in outcomes] == ["finished"] * 5 + ["pruned"] * 2
    assert [one.fold_ua for one in outcomes[5:]] == [{1: 0.9, 2: 0.5}] * 2


def test_one_fold_leaves_nothing_to_give_up(tmp_path, formula):
    formula(near_a_thousandth)
    assert {one.state for one in run(search(tmp_path, project(tmp_path)), 12)[0]} == {"finished"}


def test_same_values_are_not_trained_twice(tmp_path, formula):
    formula(lambda trained, fold, seed: trained.model.dim / 100)
    outcomes, begun = run(search(tmp_path, project(tmp_path), space=(DIM,), folds=(1, 2)), 6)
    assert len(begun) == 4
    assert len(outcomes) == 6
    assert {one.chosen["model.dim"]: one.ua for one in outcomes} == {16: 0.16, 32: 0.32}
    assert sum(one.note.startswith("same values as trial") for one in outcomes) == 4


def test_values_that_do_not_go_together_are_refused_and_the_search_goes_on(tmp_path, formula):
    formula(lambda trained, fold, seed: 0.5)
    params = with_values(project(tmp_path), model__fusion="cross_attention")
    outcomes, _ = run(search(tmp_path, params, space=(Axis("model.heads", "choose", (3, 4, 5)),)), 12)
    assert {(one.chosen["model.heads"], one.state) for one in outcomes} == {(3, "refused"), (4, "finished"), (5, "refused")}
    assert "model.dim 16 must be a multiple of model.heads 3" in next(one.note for one in outcomes if one.chosen["model.heads"] == 3)


OWN_BANDS = {"features__mfcc__n_mels": 20, "train__augment__noise_domain": "waveform"}
WIDTH_OF_THE_VIEWS = {"model__transformer__dim": None, "model__transformer__pooling": "max"}


@pytest.mark.parametrize(
    ("key", "choices", "others", "note"),
    [
        ("train.augment.noise_domain", ("waveform", "mel"), OWN_BANDS, "n_mels"),
        ("model.transformer.heads", (4, 5), WIDTH_OF_THE_VIEWS, "not a multiple of model.transformer.heads 5"),
    ],
)
def test_values_that_do_not_go_with_the_features_are_refused_before_training(tmp_path, formula, key, choices, others, note):
    trained = []
    formula(lambda about, fold, seed: trained.append(about) or 0.5)
    params = with_values(project(tmp_path), train__augment__band_shift=0, **others)
    outcomes, begun = run(search(tmp_path, params, space=(Axis(key, "choose", choices),)), 8)
    assert {(one.chosen[key], one.state) for one in outcomes} == {(choices[0], "finished"), (choices[1], "refused")}
    assert all(note in one.note for one in outcomes if one.state == "refused")
    assert len(trained) == len(begun) == 1


@pytest.mark.parametrize(("layers", "state"), [([1, 2, 4], "finished"), ([1, 2], "refused")])
def test_a_teacher_hears_the_states_that_are_asked_for_or_none(tmp_path, formula, layers, state):
    """Of other layers, or of another encoder, it would have a score that says nothing of params.yaml."""
    formula(lambda trained, fold, seed: 0.5)
    encoder = {"name": "made", "layers": layers, "path": "x"}
    params = with_values(project(tmp_path), features__encoder=encoder, model__linear__layers=[1], train__teacher="linear")
    encoded, _ = stored(tmp_path, params)
    outcome = run(replace(search(tmp_path, params), encoded=encoded), 1)[0][0]
    assert outcome.state == state
    assert ("holds layers [1, 2, 4] of made" in outcome.note) == (state == "refused")


def test_a_baseline_is_not_refused_for_a_network_that_nobody_builds(tmp_path, formula):
    formula(lambda trained, fold, seed: 0.5)
    params = with_values(project(tmp_path), model__kind="svm", model__transformer__heads=5, **WIDTH_OF_THE_VIEWS)
    assert run(search(tmp_path, params), 1)[0][0].state == "finished"


@pytest.mark.parametrize("error", [SerError("a training process died"), torch.OutOfMemoryError("CUDA out of memory")])
def test_error_of_the_machine_stops_the_search_and_costs_no_trial(tmp_path, formula, error):
    def fails(trained: inference.Trained, fold: int, seed: int) -> float:
        if fold == 2:
            raise error
        return 0.5

    formula(fails)
    about = search(tmp_path, project(tmp_path), folds=(1, 2))
    with pytest.raises(SerError, match=rf"(?s)trial 0 stopped the search: {error}.*The same command.*train\.lr"):
        run(about, 2)
    assert [(one.number, one.state) for one in shown(about)] == [(0, "running")]
    formula(near_a_thousandth)
    outcomes, begun = run(about, 2)
    assert [(one.number, one.state) for one in outcomes] == [(0, "finished"), (1, "finished")]
    assert outcomes[0].fold_ua[1] == 0.5, "a finished fold is not trained again"
    assert len(begun) == 3


def test_error_of_the_code_stops_the_search(tmp_path, formula):
    def fails(trained: inference.Trained, fold: int, seed: int) -> float:
        raise ZeroDivisionError

    formula(fails)
    with pytest.raises(ZeroDivisionError):
        run(search(tmp_path, project(tmp_path)), 2)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("search space", {"space": (LR, DIM)}),
        ("folds", {"folds": (1, 2)}),
        ("seed", {"seed": 1}),
        ("parameters", {"epochs": 7}),
        ("features or folds", {"clip": True}),
    ],
)
def test_search_about_something_else_is_not_gone_on_with(tmp_path, formula, what, change):
    formula(near_a_thousandth)
    params = project(tmp_path)
    run(search(tmp_path, params), 1)
    if change.pop("clip", False):
        table = tmp_path / "data/clips/demo/clips.csv"
        table.write_text(table.read_text().replace("happy", "sad"))
    if epochs := change.pop("epochs", None):
        params = with_values(params, train__epochs=epochs)
    with pytest.raises(SerError, match=f"'made' was begun with other {what}[:,].*Choose another --name"):
        run(search(tmp_path, params, **change), 2)


def test_best_values_taken_over_into_params_yaml_do_not_end_the_search(tmp_path, formula):
    formula(near_a_thousandth)
    params = project(tmp_path)
    run(search(tmp_path, params), 1)
    assert [one.number for one in run(search(tmp_path, with_values(params, train__lr=0.001)), 2)[0]] == [1]


def test_share_of_validated_test_clips(tmp_path):
    rows = [("a", 1, "valid"), ("b", 1, "valid"), ("c", 1, "test"), ("a", 2, "test"), ("b", 2, "train"), ("c", 2, "valid")]
    pd.DataFrame(rows, columns=["clip", "fold", "part"]).to_csv(tmp_path / "folds.csv", index=False)
    assert trials.folds_there_are(tmp_path / "folds.csv") == [1, 2]
    shares = [trials.validated_test_share(tmp_path / "folds.csv", folds) for folds in ([1], [2], [1, 2])]
    assert shares == [0.5, 1.0, pytest.approx(2 / 3)]
    assert trials.validated_test_share(tmp_path / "folds.csv", [3]) == 0, "it has no validation clip"
