"""Trained networks as one ONNX graph: one is traced, and its graph is repeated with the others' weights."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor, nn

from ser import SerError
from ser.model.network import Network
from ser.serving.bundle import LENGTHS, PROBABILITIES, STATES


def inputs(network: Network) -> list[str]:
    """What the graph of a network takes, in this order."""
    return [*network.widths, *([STATES] if network.encoder else []), LENGTHS]


class _Probabilities(nn.Module):
    """A network that takes its views, hidden states and lengths one after the other, as a graph does."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        *self.names, _ = inputs(network)

    def forward(self, *inputs: Tensor) -> Tensor:
        *views, lengths = inputs
        return self.network(dict(zip(self.names, views, strict=True)), lengths).softmax(1)


def to_onnx(networks: list[Network]) -> bytes:
    """Networks of one shape → one ONNX model.

    Inputs are each view by its name, (B, T, columns) float32; with the branch ``encoder`` hidden states of this name,
    (B, N, layers, width) float32; and ``lengths`` (B,) int64, frames, for any B, T and N ≥ 1. The output ``probabilities`` is
    (networks, B, K) float32. One network is traced and its graph repeated with the others' weights, which
    takes seconds where tracing all of them takes a minute.

    Raises:
        SerError: if a network's weights do not fit the traced graph.
    """
    traced = _trace(networks[0])
    weights = [{f"network.{name}": value.numpy() for name, value in network.state_dict().items()} for network in networks]
    graph = _side_by_side(traced.graph, weights)
    model = helper.make_model(graph, opset_imports=traced.opset_import, ir_version=traced.ir_version, producer_name="ser")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _trace(network: Network) -> ModelProto:
    wrapped = _Probabilities(network).eval()
    # any shape does that has several clips, of which one is padded
    frames = torch.full((2,), 128)
    views = [torch.zeros(2, 128, width) for width in network.widths.values()]
    batch, time, tokens = (torch.export.Dim(name) for name in ("batch", "frames", "tokens"))
    shapes = [{0: batch, 1: time} for _ in views]
    if network.encoder is not None:
        views.append(torch.zeros(2, 131, network.encoder.layers, network.encoder.width))
        shapes.append({0: batch, 1: tokens})
    with _quiet():
        program = torch.onnx.export(
            wrapped,
            (*views, frames),
            input_names=inputs(network),
            output_names=[PROBABILITIES],
            dynamic_shapes={"inputs": (*shapes, {0: batch})},
            dynamo=True,
            optimize=False,  # so that every weight keeps its name
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own passes and on a package that we do not use."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _side_by_side(graph: GraphProto, weights: list[dict[str, np.ndarray]]) -> GraphProto:
    """The graph once for each set of weights, all fed by the same inputs, the outputs stacked along a new first axis."""
    taken = {value.name for value in graph.input}
    own = {initializer.name for initializer in graph.initializer if initializer.name in weights[0]}
    shared = [initializer for initializer in graph.initializer if initializer.name not in own]
    common = taken | {initializer.name for initializer in shared} | {""}
    nodes: list[NodeProto] = []
    tensors = list(shared)
    stacked = []
    for number, state in enumerate(weights):
        prefix = f"{number}/"
        for node in graph.node:
            copy = NodeProto(op_type=node.op_type, domain=node.domain, name=prefix + node.name)
            if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
                raise SerError(f"export: the network's graph has a nested graph ({node.op_type}), which cannot be repeated")
            copy.attribute.extend(node.attribute)
            copy.input.extend(name if name in common else prefix + name for name in node.input)
            copy.output.extend(prefix + name if name else "" for name in node.output)
            nodes.append(copy)
        for name in sorted(own):
            if state[name].shape != weights[0][name].shape:
                raise SerError(f"export: {name} has shape {state[name].shape} in one network and {weights[0][name].shape} in another")
            tensors.append(numpy_helper.from_array(state[name], prefix + name))
        nodes.append(helper.make_node("Unsqueeze", [prefix + PROBABILITIES, "first"], [f"{prefix}stacked"], f"{prefix}stack"))
        stacked.append(f"{prefix}stacked")
    tensors.append(numpy_helper.from_array(np.array([0], dtype=np.int64), "first"))
    nodes.append(helper.make_node("Concat", stacked, [PROBABILITIES], "concat", axis=0))
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    output = helper.make_tensor_value_info(PROBABILITIES, onnx.TensorProto.FLOAT, [len(weights), "batch", classes])
    return helper.make_graph(nodes, "ser", list(graph.input), [output], tensors)
