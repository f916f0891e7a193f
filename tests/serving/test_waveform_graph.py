"""Waveform encoders as graphs: what onnxruntime computes is what transformers computes, in every family and both of its sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ser import SerError
from ser.encoders import waveform
from ser.serving.bundle import Precision
from ser.serving.export import waveform_graph
from ser.serving.graph import OPERATORS, operators
from tests.encoders import tiny

pytest.importorskip("transformers", reason="transformers, an optional package, is not installed")


def states(model: bytes, signal: np.ndarray) -> np.ndarray:
    found: np.ndarray = onnxruntime.InferenceSession(model).run(None, {"signal": signal[None]})[0][0]
    return found


@pytest.mark.parametrize("kind", tiny.MADE)
def test_hidden_states_are_those_of_the_network(tmp_path: Path, kind: str) -> None:
    """The last signal is longer than WavLM's largest distance of 800 tokens."""
    network = tiny.waveform(tmp_path, kind)
    for values in network.parameters():  # the first ones are so small that a forgotten term would not show
        torch.nn.init.normal_(values, std=0.2)
    network.save_pretrained(tmp_path)
    for chosen in ([0], [0, 2, 3], [4]):
        encoder = waveform.load(tmp_path, chosen)
        model = waveform_graph.to_onnx(encoder, "float32")
        assert operators(model) <= OPERATORS
        for samples in (400, 719, 16_000, 290_000):
            signal = tiny.noise(samples)
            np.testing.assert_allclose(states(model, signal), encoder.piece(signal), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(("precision", "share", "apart"), [("float16", 0.65, 0.02), ("int8", 0.55, 0.2)])
def test_smaller_weights_stay_close(tmp_path: Path, precision: Precision, share: float, apart: float) -> None:
    tiny.waveform(tmp_path, "wavlm")
    encoder, signal = waveform.load(tmp_path, [4]), tiny.noise(16_000)
    model = waveform_graph.to_onnx(encoder, precision)
    assert len(model) < share * len(waveform_graph.to_onnx(encoder, "float32"))
    assert 0 < np.abs(states(model, signal) - encoder.piece(signal)).max() < apart


def test_a_part_that_the_graph_has_not_is_refused(tmp_path: Path) -> None:
    tiny.waveform(tmp_path, "hubert")
    encoder = waveform.load(tmp_path, [1])
    encoder.network.encoder.layers[0].attention.extra = torch.nn.Linear(2, 2)
    with pytest.raises(SerError, match=r"the weight encoder\.layers\.0\.attention\.extra\.bias, which no published hubert has"):
        waveform_graph.to_onnx(encoder, "float32")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, ""),
        ({"hidden_act": "gelu", "conv_pos_batch_norm": False, "adapter_attn_dim": None}, ""),
        ({"hidden_act": "relu"}, "its hidden_act is relu"),
        ({"feat_extract_activation": "gelu_new"}, "its feat_extract_activation is gelu_new"),
        ({"adapter_attn_dim": 16}, "it has adapter_attn_dim"),
    ],
)
def test_what_cannot_be_drawn_is_told_from_its_config(config: dict[str, object], says: str) -> None:
    found = waveform_graph.why_not(config)
    assert found.startswith(says)
    assert bool(found) == bool(says)
