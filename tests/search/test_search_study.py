"""Trials on disk: each has one owner, and none is lost with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ser import SerError
from ser.search import study
from ser.search.space import Axis
from tests.search.made_search import DIM, LR

SPACE = [DIM, LR]
NOW = {"model.dim": 16, "train.lr": 0.002}


def begun(folder: Path, identity: str = "x"):
    return study.begin(folder, {"what": identity}, SPACE, NOW)


def test_trial_belongs_to_one_process_until_it_ends(tmp_path):
    opened = [begun(tmp_path), begun(tmp_path)]
    first, second = (study.take(tmp_path, one, SPACE, 0, 9) for one in opened)
    assert first is not None
    assert second is not None
    assert (first[0].number, second[0].number) == (0, 1)
    assert first[0].user_attrs["chosen"] == NOW
    first[1].close()  # as if its process had died
    again = study.take(tmp_path, opened[1], SPACE, 0, 9)
    assert again is not None
    assert (again[0].number, again[0].user_attrs["chosen"]) == (0, NOW)
    opened[1].tell(second[0], 0.5)
    study.clear(tmp_path, 1)
    second[1].close()
    third = study.take(tmp_path, opened[0], SPACE, 0, 9)
    assert third is not None
    assert third[0].number == 2
    assert study.take(tmp_path, opened[0], SPACE, 0, 3) is None, "three are under way or done"


def test_values_that_were_drawn_before_the_end_stay(tmp_path):
    """Its process died after the first of two draws."""
    opened = begun(tmp_path)
    opened.ask()  # params.yaml
    opened.ask().suggest_categorical(DIM.key, ["16", "32"])
    drawn = opened.trials[1].params
    taken = [study.take(tmp_path, opened, SPACE, 0, 9) for _ in range(2)]
    assert [trial.number for trial, _ in taken if trial] == [0, 1]
    assert taken[1][0].params.items() > drawn.items()
    assert str(taken[1][0].user_attrs["chosen"]["model.dim"]) == drawn["model.dim"]


def test_search_that_died_at_its_very_beginning_begins_again(tmp_path):
    study._open(tmp_path)  # no identity yet
    taken = study.take(tmp_path, begun(tmp_path), SPACE, 0, 1)
    assert taken is not None
    assert taken[0].user_attrs["chosen"] == NOW


@pytest.mark.parametrize("number", [0, 1, 17])
def test_draws_depend_on_seed_and_number_alone(tmp_path, number):
    draws = [study._sampler(seed, at)._rng.rng.random() for seed, at in [(3, number), (3, number), (4, number), (3, number + 1)]]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_lists_and_null_are_drawn_as_they_are(tmp_path):
    axis = Axis("model.branches", "choose", (None, ["mfcc_cnn", "transformer"]))
    opened = study.begin(tmp_path, {}, [axis], {"model.branches": ["mfcc_cnn", "transformer"]})
    seen = []
    for _ in range(12):
        taken = study.take(tmp_path, opened, [axis], 0, 99)
        assert taken is not None
        seen.append(taken[0].user_attrs["chosen"]["model.branches"])
    assert seen[0] == ["mfcc_cnn", "transformer"]
    assert None in seen


def test_no_search_names_those_there_are(tmp_path):
    begun(tmp_path / "mine")
    with pytest.raises(SerError, match=r"no search 'none' in .*; there are: mine"):
        study.find(tmp_path / "none")
    assert study.outcomes(study.find(tmp_path / "mine")) == []
