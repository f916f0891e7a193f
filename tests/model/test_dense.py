"""A layer with portable kernels computes what ``nn.Linear`` does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ser.model.dense import Dense


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 7, 5, 3), (1, 1, 1, 1), (2, 1, 8, 3), (1, 300, 3, 1), (0, 4, 3, 2)])
def test_values_and_gradients_are_those_of_a_linear_layer(shape: tuple[int, int, int, int], bias: bool) -> None:
    batch, count, inputs, outputs = shape
    torch.manual_seed(0)
    ours, plain = Dense(inputs, outputs, bias), nn.Linear(inputs, outputs, bias)
    ours.portable = True
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(batch, count, inputs)
    gradients = []
    for layer in (ours, plain):
        asked = x.clone().requires_grad_()
        found = layer(asked)
        assert found.shape == (batch, count, outputs)
        found.square().sum().backward()
        gradients.append([found, asked.grad, *(weight.grad for weight in layer.parameters())])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("portable", [True, False])
def test_only_a_portable_training_convolves(portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    convolve = torch.nn.functional.conv2d
    monkeypatch.setattr("torch.nn.functional.conv2d", lambda *given: calls.append(1) or convolve(*given))
    layer = Dense(3, 2)
    layer.portable = portable
    layer(torch.zeros(1, 4, 3))
    layer.eval()(torch.zeros(1, 4, 3))
    assert len(calls) == portable
