"""Whisper's encoder as an ONNX graph up to the highest hidden state that is read, its weights stored in 16 or 8 bit.

The graph takes ``mel`` (1, bands, frames), frames ≥ 1 and at most two for each position, and gives ``states`` (1, tokens, layers, width) in
float32. Stored weights are widened by nodes that onnxruntime evaluates once, on loading: it computes in float32, whatever is stored.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ser import SerError
from ser.encoders.whisper import Layer, Whisper, WhisperEncoder
from ser.serving.bundle import Precision

OPSET = 20
"""The first with Gelu."""
EPSILON = 1e-5
"""Of the layer norms."""
WAVES = 1e-3
"""By which positions may differ from Whisper's formula: half precision's last step near 1."""
LONGEST = 10_000.0
"""Ratio of the slowest wave's length to the fastest's (Vaswani et al. 2017)."""


def to_onnx(encoder: Whisper, precision: Precision) -> bytes:
    """An encoder, loaded up to the hidden states that are wanted → bytes of an ONNX model.

    Args:
        encoder: from ``ser.encoders.whisper.load``.
        precision: how weights are stored. int8: the matrices of the layers in 8 bit, scaled by output column, and all else in float16.

    Raises:
        SerError: when a weight does not fit into float16.
    """
    drawing = _Drawing(encoder.network, precision)
    drawing.whole(encoder.network)
    mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, encoder.bands, "frames"])
    shape: list[int | str | None] = [1, "tokens", len(encoder.network.chosen), encoder.network.conv1.out_channels]
    states = helper.make_tensor_value_info("states", TensorProto.FLOAT, shape)
    graph = helper.make_graph(drawing.nodes, "encoder", [mel], [states], drawing.tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="ser")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


class _Drawing:
    """Nodes and weights, as they are added. Every method that adds nodes returns the name of their result."""

    def __init__(self, network: WhisperEncoder, precision: Precision) -> None:
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []
        self._weights = {name: values.detach().numpy() for name, values in network.state_dict().items()}
        self._precision = precision
        self._axes: dict[tuple[int, ...], str] = {}

    def whole(self, network: WhisperEncoder) -> None:
        """The encoder from ``mel`` to ``states``."""
        x = self._node("Gelu", self._conv("mel", "conv1", 1))
        x = self._node("Transpose", self._node("Gelu", self._conv(x, "conv2", 2)), perm=[0, 2, 1])
        x = self._node("Add", x, self._positions(x))
        states = [x] if 0 in network.chosen else []
        for number, layer in enumerate(network.layers, start=1):
            assert isinstance(layer, Layer)
            x = self._layer(x, f"layers.{number - 1}.", layer.self_attn.heads)
            if network.layer_norm is not None and number == len(network.layers):
                x = self._norm(x, "layer_norm")
            if number in network.chosen:
                states.append(x)
        stacked = [self._node("Unsqueeze", state, self._integers(2)) for state in states]
        self.nodes.append(helper.make_node("Concat", stacked, ["states"], "states", axis=2))

    def _conv(self, x: str, name: str, stride: int) -> str:
        kernel = self._stored(f"{name}.weight", self._weights[f"{name}.weight"])
        return self._node("Conv", x, kernel, self._vector(f"{name}.bias"), strides=[stride], pads=[1, 1], kernel_shape=[3])

    def _positions(self, x: str) -> str:
        """As many positions as there are tokens.

        Whisper's are waves of fixed lengths, which were never trained. They are computed in half precision's steps where they are that,
        and take no room in the file; else they are stored.
        """
        table = self._weights["embed_positions.weight"]
        tokens = self._node("Slice", self._node("Shape", x), self._integers(1), self._integers(2), self._integers(0))
        rates = _rates(table.shape[1])
        angles = np.arange(len(table), dtype=np.float32)[:, None] * rates
        computed = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        if self._precision == "float32" or computed.shape != table.shape or np.abs(computed - table).max() > WAVES:
            stored = self._stored("embed_positions.weight", table)
            return self._node("Slice", stored, self._integers(0), tokens, self._integers(0))
        zero, one = (self._tensor(f"integer{value}", np.int64(value)) for value in (0, 1))
        count = self._node("Range", zero, self._node("Squeeze", tokens), one)
        column = self._node("Unsqueeze", self._node("Cast", count, to=TensorProto.FLOAT), self._integers(1))
        angle = self._node("Mul", column, self._tensor("rates", rates))
        waves = self._node("Concat", self._node("Sin", angle), self._node("Cos", angle), axis=1)
        return self._node("Cast", self._node("Cast", waves, to=TensorProto.FLOAT16), to=TensorProto.FLOAT)

    def _layer(self, x: str, name: str, heads: int) -> str:
        x = self._node("Add", x, self._attention(self._norm(x, f"{name}self_attn_layer_norm"), f"{name}self_attn.", heads))
        inner = self._node("Gelu", self._linear(self._norm(x, f"{name}final_layer_norm"), f"{name}fc1"))
        return self._node("Add", x, self._linear(inner, f"{name}fc2"))

    def _attention(self, x: str, name: str, heads: int) -> str:
        width = self._weights[f"{name}q_proj.weight"].shape[0]
        apart, together = self._integers(0, 0, heads, width // heads), self._integers(0, 0, width)
        scale = self._tensor(f"{name}scale", np.float32(1 / math.sqrt(width // heads)))
        q, k, v = (self._node("Reshape", self._linear(x, f"{name}{part}_proj"), apart) for part in "qkv")
        q = self._node("Transpose", self._node("Mul", q, scale), perm=[0, 2, 1, 3])
        weights = self._node("Softmax", self._node("MatMul", q, self._node("Transpose", k, perm=[0, 2, 3, 1])), axis=-1)
        mixed = self._node("MatMul", weights, self._node("Transpose", v, perm=[0, 2, 1, 3]))
        return self._linear(self._node("Reshape", self._node("Transpose", mixed, perm=[0, 2, 1, 3]), together), f"{name}out_proj")

    def _linear(self, x: str, name: str) -> str:
        product = self._node("MatMul", x, self._matrix(f"{name}.weight"))
        return self._node("Add", product, self._vector(f"{name}.bias")) if f"{name}.bias" in self._weights else product

    def _norm(self, x: str, name: str) -> str:
        return self._node("LayerNormalization", x, self._vector(f"{name}.weight"), self._vector(f"{name}.bias"), axis=-1, epsilon=EPSILON)

    def _matrix(self, name: str) -> str:
        """A linear layer's weight, transposed to (in, out)."""
        values = np.ascontiguousarray(self._weights[name].T)
        if self._precision != "int8":
            return self._stored(name, values)
        scale = np.maximum(np.abs(values).max(axis=0), np.finfo(np.float32).tiny) / np.float32(127)
        whole = self._tensor(f"{name}.int8", np.rint(values / scale).astype(np.int8))
        return self._node("Mul", self._node("Cast", whole, to=TensorProto.FLOAT), self._tensor(f"{name}.scale", scale.astype(np.float32)))

    def _vector(self, name: str) -> str:
        """A bias or a layer norm's weight: few numbers, kept as they are."""
        return self._tensor(name, self._weights[name])

    def _stored(self, name: str, values: np.ndarray) -> str:
        if self._precision == "float32":
            return self._tensor(name, values)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise SerError(f"export: {name} of the encoder does not fit into float16; set export.precision to float32")
        return self._node("Cast", self._tensor(f"{name}.float16", half), to=TensorProto.FLOAT)

    def _integers(self, *values: int) -> str:
        """A constant list, each once."""
        if values not in self._axes:
            self._axes[values] = self._tensor(f"integers{'_'.join(map(str, values))}", np.array(values, dtype=np.int64))
        return self._axes[values]

    def _tensor(self, name: str, values: np.ndarray | np.generic) -> str:
        self.tensors.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _node(self, operator: str, *inputs: str, **attributes: int | float | list[int]) -> str:
        name = f"{operator}{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [name], name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name


def _rates(width: int) -> np.ndarray:
    """Radians by which each of half as many waves as the model is wide turns from token to token, float32."""
    half = width // 2
    found: np.ndarray = np.exp(-np.log(LONGEST) * np.arange(half) / max(half - 1, 1)).astype(np.float32)
    return found
