"""Calibration against scikit-learn and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve

from ser.evaluation import calibration


def drawn(clips: int, classes: int = 4, seed: int = 0, sharp: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the very probabilities, which are then made ``sharp`` times too bold."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (clips, classes))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    actual = np.array([random.choice(classes, p=row) for row in honest])
    bold = np.exp(sharp * logits)
    return bold / bold.sum(1, keepdims=True), actual


def test_log_loss_and_brier_are_scikit_learns():
    values, actual = drawn(300)
    assert calibration.log_loss(values, actual) == pytest.approx(sklearn.log_loss(actual, values))
    one_hot = np.eye(4)[actual]
    expected = sum(sklearn.brier_score_loss(one_hot[:, k], values[:, k]) for k in range(4))
    assert calibration.brier(values, actual) == pytest.approx(expected)


def test_what_one_who_knows_nothing_gets():
    even, actual = np.full((8, 4), 0.25), np.arange(8) % 4
    assert calibration.log_loss(even, actual) == pytest.approx(np.log(4))
    assert calibration.brier(even, actual) == pytest.approx(0.75)


def test_sure_and_right_or_wrong():
    sure, actual = np.eye(3), np.arange(3)
    assert calibration.brier(sure, actual) == 0
    assert calibration.log_loss(sure, actual) == 0
    assert calibration.reliability(sure, actual, 10).ece == 0
    wrong = np.roll(sure, 1, axis=1)
    assert calibration.brier(wrong, actual) == 2
    assert calibration.log_loss(wrong, actual) == pytest.approx(-np.log(calibration.TINY))
    assert calibration.reliability(wrong, actual, 10).ece == 1


def test_ece_by_hand():
    values = np.array([[0.9, 0.1], [0.9, 0.1], [0.65, 0.35], [0.45, 0.55]])
    found = calibration.reliability(values, np.array([0, 1, 0, 1]), 5)
    assert found.clips.tolist() == [0, 0, 1, 1, 2]
    assert found.confidence[2:] == pytest.approx([0.55, 0.65, 0.9])
    assert found.accuracy[2:] == pytest.approx([1, 1, 0.5])
    assert found.ece == pytest.approx((0.45 + 0.35 + 2 * 0.4) / 4)


def test_reliability_is_scikit_learns_curve():
    values, actual = drawn(800, classes=3, sharp=2)
    found = calibration.reliability(values, actual, 10)
    right = values.argmax(1) == actual
    share, mean = calibration_curve(right, values.max(1), n_bins=10)
    np.testing.assert_allclose(found.accuracy[found.clips > 0], share)
    np.testing.assert_allclose(found.confidence[found.clips > 0], mean)


def test_bins_take_their_upper_limit_in():
    values = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert calibration.reliability(values, np.array([0, 0]), 2).clips.tolist() == [1, 1]


@pytest.mark.parametrize("sharp", [0.4, 1.0, 3.0])
def test_temperature_undoes_too_bold_probabilities(sharp):
    values, actual = drawn(4000, sharp=sharp)
    temperature = calibration.fit_temperature(values, actual)
    assert temperature == pytest.approx(sharp, rel=0.08)
    honest, _ = drawn(4000, sharp=1.0)
    np.testing.assert_allclose(calibration.softmax_at(values, sharp), honest, atol=1e-4)
    assert calibration.log_loss(calibration.softmax_at(values, temperature), actual) <= calibration.log_loss(values, actual) + 1e-9


def test_a_few_clips_that_are_all_right_do_not_make_it_bold():
    """Alone they would ask for the smallest temperature there is; the prior's own least is found by hand."""
    values = np.tile([0.7, 0.2, 0.1], (12, 1))
    temperature = calibration.fit_temperature(values, np.zeros(12, int))
    grid = np.linspace(-3, 3, 60001)
    log_p = np.log([0.7, 0.2, 0.1]) / np.exp(grid)[:, None]
    loss = 12 * (np.log(np.exp(log_p).sum(1)) - log_p[:, 0]) + grid**2 / (2 * 0.5**2)
    assert temperature == pytest.approx(np.exp(grid[loss.argmin()]), rel=1e-3)
    assert 0.3 < temperature < 0.8


def test_temperature_never_changes_the_answer():
    values, _ = drawn(200)
    for temperature in (0.05, 0.5, 3, 20):
        scaled = calibration.softmax_at(values, temperature)
        np.testing.assert_array_equal(scaled.argmax(1), values.argmax(1))
        np.testing.assert_allclose(scaled.sum(1), 1)


def test_zero_probabilities_are_no_accident():
    values, actual = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([0, 1, 1])
    assert np.isfinite(calibration.softmax_at(values, 2.0)).all()
    assert 0.05 <= calibration.fit_temperature(values, actual) <= 20


def test_no_clips():
    nothing, none = np.zeros((0, 3)), np.zeros(0, int)
    assert np.isnan(calibration.log_loss(nothing, none))
    assert np.isnan(calibration.brier(nothing, none))
    found = calibration.reliability(nothing, none, 5)
    assert found.clips.sum() == 0
    assert np.isnan(found.ece)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: calibration.fit_temperature(np.zeros((0, 3)), np.zeros(0, int)), "probabilities"),
        (lambda: calibration.log_loss(np.array([0.5, 0.5]), np.array([0])), "probabilities"),
        (lambda: calibration.brier(np.array([[0.9, 0.9]]), np.array([0])), "probabilities"),
        (lambda: calibration.brier(np.array([[np.nan, 1.0]]), np.array([0])), "probabilities"),
        (lambda: calibration.brier(np.array([[1.5, -0.5]]), np.array([0])), "probabilities"),
        (lambda: calibration.log_loss(np.array([[0.5, 0.5]]), np.array([2])), "actual"),
        (lambda: calibration.log_loss(np.array([[0.5, 0.5]]), np.array([0, 1])), "actual"),
        (lambda: calibration.reliability(np.array([[0.5, 0.5]]), np.array([0]), 0), "bins"),
        (lambda: calibration.softmax_at(np.array([[0.5, 0.5]]), 0.0), "temperature"),
    ],
)
def test_wrong_inputs_are_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        call()
