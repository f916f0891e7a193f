from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from fixtures.network import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from ser.model.losses import class_weights, loss
from ser.params import load
from ser.params.train import Train

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0], [-40.0, 40.0, 0.0], [1.0, 1.0, 1.0]])
HARD = torch.tensor([0, 1, 0, 2])
WEIGHTS = torch.tensor([0.5, 2.0, 1.5])


def train(**changes) -> Train:
    return load(ROOT / "params.yaml").train.model_copy(update=changes)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_torchs(smoothing: float, weights: torch.Tensor | None) -> None:
    ours = loss(LOGITS, HARD, train(loss="cross_entropy", label_smoothing=smoothing), weights)
    torch.testing.assert_close(ours, F.cross_entropy(LOGITS, HARD, weight=weights, label_smoothing=smoothing))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_soft_targets_as_torch_takes_them(smoothing: float) -> None:
    soft = torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6], [0.0, 0.0, 1.0]])
    ours = loss(LOGITS, soft, train(loss="cross_entropy", label_smoothing=smoothing))
    torch.testing.assert_close(ours, F.cross_entropy(LOGITS, soft, label_smoothing=smoothing))


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
@settings(max_examples=30)
@given(data=st.data())
def test_soft_targets_that_are_hard_give_the_same(kind: str, data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 8))
    hard = torch.tensor(data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=6)))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    logits, weights = 5 * torch.randn(len(hard), classes), torch.rand(classes) + 0.1
    settings_ = train(loss=kind)
    value = loss(logits, hard, settings_, weights)
    torch.testing.assert_close(loss(logits, F.one_hot(hard, classes).float(), settings_, weights), value)
    assert value >= 0


def test_focal_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.2, 0.8]]))
    expected = (0.1**2 * -math.log(0.9) + 0.8**2 * -math.log(0.2)) / 2
    assert loss(logits, torch.tensor([0, 0]), train(loss="focal", focal_gamma=2.0)).item() == pytest.approx(expected, rel=1e-5)
    mixed = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    expected = (0.25 * 0.1**2 * -math.log(0.9) + 0.75 * 0.9**2 * -math.log(0.1) + 0.8**2 * -math.log(0.2)) / 2
    assert loss(logits, mixed, train(loss="focal", focal_gamma=2.0)).item() == pytest.approx(expected, rel=1e-5)


def test_focal_with_gamma_0_is_cross_entropy() -> None:
    torch.testing.assert_close(loss(LOGITS, HARD, train(loss="focal", focal_gamma=0.0), WEIGHTS), F.cross_entropy(LOGITS, HARD, WEIGHTS))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradients_stay_finite_where_the_network_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    loss(logits, torch.tensor([0, 0]), train(loss="focal", focal_gamma=gamma)).backward()
    assert torch.isfinite(logits.grad).all()


def test_half_precision_is_widened() -> None:
    value = loss(LOGITS.bfloat16(), HARD, train(loss="cross_entropy"), WEIGHTS)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(LOGITS.bfloat16().float(), HARD, train(loss="cross_entropy"), WEIGHTS))


@pytest.mark.parametrize(
    ("kind", "counts", "expected"),
    [
        ("none", [10, 0, 5], [1, 1, 1]),
        ("inverse", [10, 10], [1, 1]),
        ("inverse", [10, 40], [1.6, 0.4]),
        ("inverse", [10, 0, 40], [1.6, 0, 0.4]),
        ("effective", [1, 2], [2 * 1.99 / 2.99, 2 / 2.99]),  # (1 − β²)/(1 − β) = 1 + β = 1.99
        ("effective", [7], [1]),
    ],
)
def test_class_weights_by_hand(kind: str, counts: list[int], expected: list[float]) -> None:
    weights = class_weights(torch.tensor(counts), train(class_weight=kind, effective_beta=0.99))
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("counts", [[0, 0], [-1, 3], []])
def test_counts_that_cannot_be(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="class_weights: counts"):
        class_weights(torch.tensor(counts), train(class_weight="inverse"))
