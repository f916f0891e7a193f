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
from ser.model.network import Network, evaluating
from ser.serving.bundle import LENGTHS, PROBABILITIES, STATES, attention_of


def inputs(network: Network) -> list[str]:
    """What the graph of a network takes, in this order."""
    return [*network.widths, *([STATES] if network.encoder else []), LENGTHS]


class _Traced(nn.Module):
    """A network that takes views, hidden states and lengths one after the other, as a graph does, and gives probabilities and attention."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        *self.names, _ = inputs(network)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        *each, lengths = inputs
        views = dict(zip(self.names, each, strict=True))
        logits, attention = self.network.with_attention(views, lengths)
        return logits.softmax(1), *attention.values()


def attended(network: Network) -> list[str]:
    """The sides of the fusion over whose frames it has attention, in the order of the graph's outputs; none for a fusion without."""
    views, lengths = _example(network)
    with evaluating(network), torch.no_grad():
        return list(network.attention(dict(zip(inputs(network), views, strict=False)), lengths))


def to_onnx(networks: list[Network]) -> bytes:
    """Networks of one shape → one ONNX model.

    Inputs are each view by its name, (B, T, columns) float32; with the branch ``encoder`` hidden states of this name,
    (B, N, layers, width) float32; and ``lengths`` (B,) int64, frames, for any B, T and N ≥ 1. The output ``probabilities`` is
    (networks, B, K) float32; after it comes ``attention_<side>`` for each of ``attended``, (networks, B, T) float32: zero where padded, and
    summing to 1 over each clip. One network is traced and its graph repeated with the others' weights, which takes seconds where tracing
    all of them takes a minute.

    Raises:
        SerError: if a network's weights do not fit the traced graph.
    """
    traced = _trace(networks[0])
    weights = [{f"network.{name}": value.numpy() for name, value in network.state_dict().items()} for network in networks]
    graph = _side_by_side(traced.graph, weights)
    model = helper.make_model(graph, opset_imports=traced.opset_import, ir_version=traced.ir_version, producer_name="ser")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _example(network: Network) -> tuple[list[Tensor], Tensor]:
    """Views, hidden states and lengths of two clips: any shape does that has several."""
    views = [torch.zeros(2, 128, width) for width in network.widths.values()]
    if network.encoder is not None:
        views.append(torch.zeros(2, 131, network.encoder.layers, network.encoder.width))
    return views, torch.full((2,), 128)


def _trace(network: Network) -> ModelProto:
    wrapped = _Traced(network).eval()
    views, frames = _example(network)
    batch, time, tokens = (torch.export.Dim(name) for name in ("batch", "frames", "tokens"))
    shapes = [{0: batch, 1: time} for _ in network.widths]
    if network.encoder is not None:
        shapes.append({0: batch, 1: tokens})
    with _quiet(), _disk_errors_first():
        program = torch.onnx.export(
            wrapped,
            (*views, frames),
            input_names=inputs(network),
            output_names=[PROBABILITIES, *map(attention_of, attended(network))],
            dynamic_shapes={"inputs": (*shapes, {0: batch})},
            dynamo=True,
            optimize=False,  # so that every weight keeps its name
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _disk_errors_first() -> Iterator[None]:
    """Raise what the disk said rather than the exporter's error about it, which asks for a report to its makers."""
    try:
        yield
    except torch.onnx.errors.OnnxExporterError as error:
        behind: BaseException | None = error
        while behind is not None and not isinstance(behind, OSError):
            behind = behind.__cause__ or behind.__context__
        if behind is None:
            raise
        raise behind from None


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
    """The graph once for each set of weights, all fed by the same inputs, each output stacked along a new first axis."""
    taken = {value.name for value in graph.input}
    own = {initializer.name for initializer in graph.initializer if initializer.name in weights[0]}
    shared = [initializer for initializer in graph.initializer if initializer.name not in own]
    common = taken | {initializer.name for initializer in shared} | {""}
    nodes: list[NodeProto] = []
    tensors = list(shared)
    names = [output.name for output in graph.output]
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
        for name in names:
            nodes.append(helper.make_node("Unsqueeze", [prefix + name, "first"], [f"{prefix}stacked/{name}"], f"{prefix}stack/{name}"))
    tensors.append(numpy_helper.from_array(np.array([0], dtype=np.int64), "first"))
    for name in names:
        stacked = [f"{number}/stacked/{name}" for number in range(len(weights))]
        nodes.append(helper.make_node("Concat", stacked, [name], f"concat/{name}", axis=0))
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    wide = [classes if name == PROBABILITIES else "frames" for name in names]
    sizes = [(name, [len(weights), "batch", columns]) for name, columns in zip(names, wide, strict=True)]
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in sizes]
    return helper.make_graph(nodes, "ser", list(graph.input), outputs, tensors)
