"""An ONNX graph as it is drawn: nodes and weights, stored in 32, 16 or 8 bit, and the parts that all encoders share.

Stored weights are widened by nodes that onnxruntime evaluates once, on loading: it computes in float32, whatever is stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ser import SerError
from ser.serving.bundle import Precision

OPSET = 20
"""The first with Gelu."""
EPSILON = 1e-5
"""Of layer norms, where nothing else is said."""


class Drawing:
    """Nodes and weights, as they are added. Every method that adds nodes returns the name of their result.

    Attributes:
        weights: arrays by name, as torch keeps them: a linear layer's is (out, in).
        precision: how weights are stored. int8: linear layers in 8 bit, scaled by output column, and all else in float16.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], precision: Precision) -> None:
        self.weights, self.precision = weights, precision
        self._nodes: list[NodeProto] = []
        self._tensors: list[TensorProto] = []
        self._lists: dict[tuple[int, ...], str] = {}

    def finished(self, takes: str, shape: Sequence[int | str], states: Sequence[str], width: int) -> bytes:
        """The model: its input and hidden states (1, tokens, width) → ``states`` (1, tokens, layers, width), float32 all.

        Args:
            takes: name of the input.
            shape: of the input; a name stands for any size.
            states: names of the hidden states in their order.
            width: of each.
        """
        stacked = [self.node("Unsqueeze", state, self.integers(2)) for state in states]
        self._nodes.append(helper.make_node("Concat", stacked, ["states"], "states", axis=2))
        taken = helper.make_tensor_value_info(takes, TensorProto.FLOAT, list(shape))
        given = helper.make_tensor_value_info("states", TensorProto.FLOAT, [1, "tokens", len(states), width])
        graph = helper.make_graph(self._nodes, "encoder", [taken], [given], self._tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="ser")
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)

    def conv(self, x: str, name: str, stride: int = 1, pads: tuple[int, int] = (0, 0), groups: int = 1) -> str:
        """A convolution over time: (1, channels, T) → (1, out, T')."""
        kernel = self.weights[f"{name}.weight"]
        operands = [self.stored(f"{name}.weight", kernel)]
        if f"{name}.bias" in self.weights:
            operands.append(self.vector(f"{name}.bias"))
        return self.node("Conv", x, *operands, strides=[stride], pads=list(pads), kernel_shape=[kernel.shape[2]], group=groups)

    def attention(self, x: str, name: str, heads: int, bias: str = "") -> str:
        """Self-attention over all tokens.

        Args:
            x: (1, tokens, width).
            name: prefix of the projections' weights.
            heads: divide the width.
            bias: added to the scores before the softmax, (1, heads, tokens, tokens); empty: nothing.
        """
        width = self.weights[f"{name}q_proj.weight"].shape[0]
        scale = self.tensor(f"{name}scale", np.float32(1 / math.sqrt(width // heads)))
        q, k, v = (self.apart(self.linear(x, f"{name}{part}_proj"), heads, width) for part in "qkv")
        q = self.node("Transpose", self.node("Mul", q, scale), perm=[0, 2, 1, 3])
        scores = self.node("MatMul", q, self.node("Transpose", k, perm=[0, 2, 3, 1]))
        weights = self.node("Softmax", self.node("Add", scores, bias) if bias else scores, axis=-1)
        mixed = self.node("MatMul", weights, self.node("Transpose", v, perm=[0, 2, 1, 3]))
        together = self.node("Reshape", self.node("Transpose", mixed, perm=[0, 2, 1, 3]), self.integers(0, 0, width))
        return self.linear(together, f"{name}out_proj")

    def apart(self, x: str, heads: int, width: int) -> str:
        """(1, tokens, width) → (1, tokens, heads, width / heads)."""
        return self.node("Reshape", x, self.integers(0, 0, heads, width // heads))

    def linear(self, x: str, name: str) -> str:
        """A linear layer over the last axis."""
        product = self.node("MatMul", x, self._matrix(f"{name}.weight"))
        return self.node("Add", product, self.vector(f"{name}.bias")) if f"{name}.bias" in self.weights else product

    def norm(self, x: str, name: str, epsilon: float = EPSILON) -> str:
        """A layer norm over the last axis."""
        return self.node("LayerNormalization", x, self.vector(f"{name}.weight"), self.vector(f"{name}.bias"), axis=-1, epsilon=epsilon)

    def length(self, x: str) -> str:
        """How many tokens (1, tokens, width) has, as a list of one integer."""
        return self.node("Slice", self.node("Shape", x), self.integers(1), self.integers(2), self.integers(0))

    def counted(self, length: str) -> str:
        """0, 1, 2 … before a length, int64."""
        zero, one = (self.tensor(f"integer{value}", np.int64(value)) for value in (0, 1))
        return self.node("Range", zero, self.node("Squeeze", length), one)

    def vector(self, name: str) -> str:
        """A bias or a norm's weight: few numbers, kept as they are."""
        return self.tensor(name, self.weights[name])

    def stored(self, name: str, values: np.ndarray) -> str:
        """An array in half precision, or in full where that is asked for.

        Raises:
            SerError: when a value does not fit.
        """
        if self.precision == "float32":
            return self.tensor(name, values)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise SerError(f"export: {name} of the encoder does not fit into float16; set export.precision to float32")
        return self.node("Cast", self.tensor(f"{name}.float16", half), to=TensorProto.FLOAT)

    def integers(self, *values: int) -> str:
        """A constant list, each once."""
        if values not in self._lists:
            self._lists[values] = self.tensor(f"integers{'_'.join(map(str, values))}", np.array(values, dtype=np.int64))
        return self._lists[values]

    def tensor(self, name: str, values: np.ndarray | np.generic) -> str:
        """A constant as it is."""
        self._tensors.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: int | float | list[int]) -> str:
        """Any operator with one result."""
        name = f"{operator}{len(self._nodes)}"
        node = helper.make_node(operator, inputs, [name], name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return name

    def _matrix(self, name: str) -> str:
        """A linear layer's weight, transposed to (in, out)."""
        values = np.ascontiguousarray(self.weights[name].T)
        if self.precision != "int8":
            return self.stored(name, values)
        scale = np.maximum(np.abs(values).max(axis=0), np.finfo(np.float32).tiny) / np.float32(127)
        whole = self.tensor(f"{name}.int8", np.rint(values / scale).astype(np.int8))
        return self.node("Mul", self.node("Cast", whole, to=TensorProto.FLOAT), self.tensor(f"{name}.scale", scale.astype(np.float32)))
