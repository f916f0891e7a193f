"""Whisper's encoder as an ONNX graph up to the highest hidden state that is read.

The graph takes ``mel`` (1, bands, frames), frames ≥ 1 and at most two for each position, and gives ``states`` (1, tokens, layers, width) in
float32.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ser.encoders.whisper import Layer, Whisper
from ser.serving.bundle import Precision
from ser.serving.export.drawing import Drawing

WAVES = 1e-3
"""By which positions may differ from Whisper's formula: half precision's last step near 1."""
LONGEST = 10_000.0
"""Ratio of the slowest wave's length to the fastest's (Vaswani et al. 2017)."""


def to_onnx(encoder: Whisper, precision: Precision) -> bytes:
    """An encoder, loaded up to the hidden states that are wanted → bytes of an ONNX model.

    Args:
        encoder: from ``ser.encoders.whisper.load``.
        precision: how weights are stored (``Drawing``).

    Raises:
        SerError: when a weight does not fit into float16.
    """
    network = encoder.network
    drawing = Drawing({name: values.detach().numpy() for name, values in network.state_dict().items()}, precision)
    x = drawing.node("Gelu", drawing.conv("mel", "conv1", pads=(1, 1)))
    x = drawing.node("Gelu", drawing.conv(x, "conv2", stride=2, pads=(1, 1)))
    x = drawing.node("Transpose", x, perm=[0, 2, 1])
    x = drawing.node("Add", x, _positions(drawing, x))
    states = [x] if 0 in network.chosen else []
    for number, layer in enumerate(network.layers, start=1):
        assert isinstance(layer, Layer)
        x = _layer(drawing, x, f"layers.{number - 1}.", layer.self_attn.heads)
        if network.layer_norm is not None and number == len(network.layers):
            x = drawing.norm(x, "layer_norm")
        if number in network.chosen:
            states.append(x)
    return drawing.finished("mel", [1, encoder.bands, "frames"], states, network.conv1.out_channels)


def _positions(drawing: Drawing, x: str) -> str:
    """As many positions as there are tokens.

    Whisper's are waves of fixed lengths, which were never trained. They are computed in half precision's steps where they are that,
    and take no room in the file; else they are stored.
    """
    table = drawing.weights["embed_positions.weight"]
    tokens = drawing.length(x)
    rates = _rates(table.shape[1])
    angles = np.arange(len(table), dtype=np.float32)[:, None] * rates
    computed = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    if drawing.precision == "float32" or computed.shape != table.shape or np.abs(computed - table).max() > WAVES:
        stored = drawing.stored("embed_positions.weight", table)
        return drawing.node("Slice", stored, drawing.integers(0), tokens, drawing.integers(0))
    count = drawing.counted(tokens)
    column = drawing.node("Unsqueeze", drawing.node("Cast", count, to=TensorProto.FLOAT), drawing.integers(1))
    angle = drawing.node("Mul", column, drawing.tensor("rates", rates))
    waves = drawing.node("Concat", drawing.node("Sin", angle), drawing.node("Cos", angle), axis=1)
    return drawing.node("Cast", drawing.node("Cast", waves, to=TensorProto.FLOAT16), to=TensorProto.FLOAT)


def _layer(drawing: Drawing, x: str, name: str, heads: int) -> str:
    mixed = drawing.attention(drawing.norm(x, f"{name}self_attn_layer_norm"), f"{name}self_attn.", heads)
    x = drawing.node("Add", x, mixed)
    inner = drawing.node("Gelu", drawing.linear(drawing.norm(x, f"{name}final_layer_norm"), f"{name}fc1"))
    return drawing.node("Add", x, drawing.linear(inner, f"{name}fc2"))


def _rates(width: int) -> np.ndarray:
    """Radians by which each of half as many waves as the model is wide turns from token to token, float32."""
    half = width // 2
    found: np.ndarray = np.exp(-np.log(LONGEST) * np.arange(half) / max(half - 1, 1)).astype(np.float32)
    return found
