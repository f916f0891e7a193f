"""Every score against scikit-learn or a case worked out by hand."""

from __future__ import annotations

import doctest
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from ser.evaluation import metrics

PAIRS = {
    "ordinary": ([0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 2, 0, 2]),
    "class missing in truth": ([0, 0, 2, 2], [0, 1, 2, 2]),
    "class missing in truth and prediction": ([0, 0, 2, 2], [0, 2, 2, 2]),
    "class never predicted": ([0, 1, 2, 2], [0, 0, 2, 2]),
    "one clip right": ([1], [1]),
    "one clip wrong": ([1], [0]),
    "all right": ([0, 1, 2], [0, 1, 2]),
    "all wrong": ([0, 1, 2], [1, 2, 0]),
    "one class": ([1, 1, 1], [1, 1, 0]),
}


def counted(pair: tuple[list[int], list[int]]) -> np.ndarray:
    return metrics.confusion(np.array(pair[0]), np.array(pair[1]), 3)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_scores_are_scikit_learns(pair):
    counts = counted(pair)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that are missing, which is the point here
        assert metrics.wa(counts) == pytest.approx(sklearn.accuracy_score(*pair))
        assert metrics.ua(counts) == pytest.approx(sklearn.balanced_accuracy_score(*pair))
        assert metrics.macro_f1(counts) == pytest.approx(sklearn.f1_score(*pair, average="macro", zero_division=0))
        assert metrics.weighted_f1(counts) == pytest.approx(sklearn.f1_score(*pair, average="weighted", zero_division=0))
        precision, recall, f1, support = sklearn.precision_recall_fscore_support(*pair, labels=[0, 1, 2], zero_division=0)
    np.testing.assert_array_equal(counts, sklearn.confusion_matrix(*pair, labels=[0, 1, 2]))
    np.testing.assert_allclose(metrics.precision(counts), precision)
    np.testing.assert_allclose(np.nan_to_num(metrics.recall(counts)), recall)
    np.testing.assert_allclose(np.nan_to_num(metrics.f1(counts)), f1)
    np.testing.assert_array_equal(counts.sum(1), support)


def test_a_class_without_clips_has_no_recall_and_is_left_out_of_ua():
    counts = counted(PAIRS["class missing in truth"])
    assert np.isnan(metrics.recall(counts)[1])
    assert metrics.ua(counts) == pytest.approx((1 / 2 + 1) / 2)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_any_pairs(pairs):
    actual, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    counts = metrics.confusion(actual, predicted, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert metrics.ua(counts) == pytest.approx(sklearn.balanced_accuracy_score(actual, predicted))
        assert metrics.macro_f1(counts) == pytest.approx(sklearn.f1_score(actual, predicted, average="macro", zero_division=0))


def test_leading_axes_are_kept():
    each = np.stack([counted(pair) for pair in PAIRS.values()])
    for score in (metrics.wa, metrics.ua, metrics.macro_f1, metrics.weighted_f1):
        np.testing.assert_array_equal(score(each.reshape(3, 3, 3, 3)).ravel(), [score(one) for one in each])


def test_no_clips_give_nan():
    for score in (metrics.wa, metrics.ua, metrics.macro_f1, metrics.weighted_f1):
        assert np.isnan(score(np.zeros((3, 3), int)))


def test_groups_are_counted_apart():
    actual, predicted, group = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), np.array([2, 0, 0, 2])
    counts = metrics.confusion(actual, predicted, 2, group, 3)
    assert counts.tolist() == [[[0, 0], [1, 1]], [[0, 0], [0, 0]], [[2, 0], [0, 0]]]


def test_per_class_by_name():
    scores = metrics.per_class(counted(PAIRS["ordinary"]), ["a", "b", "c"])
    assert scores["c"] == {"recall": pytest.approx(2 / 3), "precision": 1.0, "f1": pytest.approx(0.8), "support": 3}


def test_baselines_count_only_classes_that_occur():
    assert metrics.baselines(np.array([[3, 0, 0], [0, 0, 0], [0, 1, 0]])) == {
        "majority": {"wa": 0.75, "ua": 0.5},
        "chance": {"wa": 0.5, "ua": 0.5},
    }


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: metrics.confusion(np.array([0]), np.array([0]), 0), "classes"),
        (lambda: metrics.confusion(np.array([0, 1]), np.array([0]), 2), "predicted"),
        (lambda: metrics.confusion(np.array([0, 2]), np.array([0, 1]), 2), "actual"),
        (lambda: metrics.confusion(np.array([0, 1]), np.array([0, -1]), 2), "predicted"),
        (lambda: metrics.confusion(np.array([0.5]), np.array([0]), 2), "actual"),
        (lambda: metrics.confusion(np.array([[0]]), np.array([0]), 2), "actual"),
        (lambda: metrics.confusion(np.array([0]), np.array([0]), 2, np.array([1]), 1), "groups"),
        (lambda: metrics.confusion(np.array([0]), np.array([0]), 2, np.array([0]), 0), "n_groups"),
        (lambda: metrics.ua(np.zeros(3)), "counts"),
        (lambda: metrics.wa(np.zeros((2, 3))), "counts"),
        (lambda: metrics.per_class(np.zeros((2, 2)), ["a"]), "counts"),
        (lambda: metrics.baselines(np.zeros((2, 2))), "counts"),
    ],
)
def test_wrong_inputs_are_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        call()


def test_examples_in_the_documentation():
    assert doctest.testmod(metrics).failed == 0
