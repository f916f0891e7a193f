"""Untrusted ONNX graphs: inspected before they are loaded, and run on one thread under a time limit.

onnxruntime would follow a graph into files beside it and run its loops for as long as they last. So the bytes are read first, by the few
rules of the protobuf wire format that this needs (https://protobuf.dev/programming-guides/encoding; field numbers: ``onnx.proto``). The
package ``onnx`` would bring much more into a predictor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from ser.serving.bundle import BundleError
from ser.serving.limited import within

OPERATORS = frozenset(
    (
        "Abs", "Add", "And", "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Constant",
        "ConstantOfShape", "Conv", "Cos", "Div", "Einsum", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherND",
        "Gelu", "Gemm", "Greater", "GreaterOrEqual", "Identity", "InstanceNormalization", "IsInf", "IsNaN", "LayerNormalization",
        "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "Max", "MaxPool", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pad", "Pow",
        "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "SequenceAt", "Shape", "Sigmoid",
        "Sign", "Sin", "Slice", "Softmax", "Split", "SplitToSequence", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose",
        "Unsqueeze", "Where",
    )
)  # fmt: skip
"""Operators that a bundle may use: those of our exports and similar ones. None contains a subgraph, so none can loop."""

FLOAT, INTEGER = "tensor(float)", "tensor(int64)"
"""Types of inputs and outputs, as onnxruntime names them."""

SECONDS = 300.0
"""Time that one run of a graph may take, and opening it. Thirty windows of the largest network take a hundredth of it on a slow core."""

_TYPES = {1: "<f4", 7: "<i8"}
"""Types of constants by their number in the format."""

_DIMENSIONS = Sequence[int | None]


@dataclass(frozen=True)
class Port:
    """An input or output of a graph: its type, and its sizes, None where any size goes."""

    kind: str
    shape: _DIMENSIONS


class Graph:
    """A loaded graph whose operators, inputs and outputs were checked. Several threads may run it at once."""

    def __init__(self, where: Path, model: bytes, inputs: Mapping[str, Port], outputs: Mapping[str, Port]) -> None:
        """Open a graph.

        Args:
            where: its file, for messages.
            model: its bytes.
            inputs: what it must take, in this order.
            outputs: what it must give, in this order.

        Raises:
            BundleError: when the bytes are refused, or the graph's inputs or outputs are others.
        """
        self._where = where
        try:
            check(model)
            self._session = _session(model)
            _compare("input", self._session.get_inputs(), inputs)
            _compare("output", self._session.get_outputs(), outputs)
        except BundleError as error:
            raise BundleError(f"{where} {error}: export the bundle again, or copy it again from where it was made") from None

    def run(self, feeds: Mapping[str, np.ndarray], seconds: float = SECONDS) -> np.ndarray:
        """The graph's first output.

        Raises:
            BundleError: as of ``outputs``.
        """
        return self.outputs(feeds, seconds)[0]

    def outputs(self, feeds: Mapping[str, np.ndarray], seconds: float = SECONDS) -> list[np.ndarray]:
        """All of the graph's outputs, in their order.

        Raises:
            BundleError: when it fails, or takes longer than ``seconds``.
        """
        options = onnxruntime.RunOptions()

        def stop() -> None:
            options.terminate = True

        try:
            result: list[np.ndarray] = within(seconds, lambda: self._session.run(None, dict(feeds), options), stop)
        except TimeoutError:
            raise BundleError(f"{self._where} did not end within {seconds:g} s") from None
        except Exception as error:  # onnxruntime raises many kinds, all of its own
            raise BundleError(f"{self._where} fails: {_one_line(error)}") from None
        return result


def check(model: bytes) -> None:
    """Look through the bytes of a graph.

    Raises:
        BundleError: when they are no ONNX graph, use another operator, hold a nested graph, or keep weights in other files.
    """
    try:
        graphs = 0
        for number, value in _fields(memoryview(model)):
            if number == 7:
                graphs += 1
                _check_graph(_message(value))
            elif number in (20, 25):
                raise BundleError("has functions or training steps of its own")
    except (IndexError, ValueError) as error:
        raise BundleError(f"is not an ONNX model ({error})") from None
    if graphs == 0:
        raise BundleError("is not an ONNX model (it holds no graph)")


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a sum has one order, and requests side by side do not fight for cores
    options.log_severity_level = 4

    def stop() -> None:
        options.set_load_cancellation_flag(True)

    try:  # it computes what is constant in the graph, which may be anything
        return within(SECONDS, lambda: onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]), stop)
    except TimeoutError:
        raise BundleError(f"could not be opened within {SECONDS:g} s") from None
    except Exception as error:  # onnxruntime raises many kinds, all of its own
        raise BundleError(f"cannot be read by onnxruntime {onnxruntime.__version__}: {_one_line(error)}") from None


def operators(model: bytes) -> set[str]:
    """Names of the operators in a graph.

    Raises:
        ValueError, IndexError: when the bytes are no protobuf.
    """
    graphs = (_message(value) for number, value in _fields(memoryview(model)) if number == 7)
    nodes = (_message(value) for graph in graphs for number, value in _fields(graph) if number == 1)
    return {_text(value) for node in nodes for number, value in _fields(node) if number == 4}


def constants(model: bytes, names: Collection[str]) -> dict[str, np.ndarray]:
    """Constants of a graph that was checked, of these names; one that is not there, or neither float32 nor int64, is left out."""
    found: dict[str, np.ndarray] = {}
    graphs = (_message(value) for number, value in _fields(memoryview(model)) if number == 7)
    for tensor in (_message(value) for graph in graphs for number, value in _fields(graph) if number == 5):
        fields = list(_fields(tensor))
        name = next((_text(value) for number, value in fields if number == 8), "")
        kind = next((_TYPES[value] for number, value in fields if number == 2 and isinstance(value, int) and value in _TYPES), None)
        raw = next((value for number, value in fields if number == 9), None)
        if name in names and kind is not None and isinstance(raw, memoryview) and len(raw) % np.dtype(kind).itemsize == 0:
            found[name] = np.frombuffer(raw, kind)
    return found


def _check_graph(graph: memoryview) -> None:
    for number, value in _fields(graph):
        if number == 1:
            _check_node(_message(value))
        elif number == 5:
            _check_tensor(_message(value))
        elif number == 15:
            raise BundleError("has sparse weights, which no export of ours has")


def _check_node(node: memoryview) -> None:
    for number, value in _fields(node):
        if number == 4 and _text(value) not in OPERATORS:
            raise BundleError(f"uses the operator {_text(value)[:40]!r}, which no export of ours uses")
        if number == 7 and _text(value) not in ("", "ai.onnx"):
            raise BundleError(f"uses operators of {_text(value)[:40]!r}, which no export of ours uses")
        if number == 5:
            _check_attribute(_message(value))


def _check_attribute(attribute: memoryview) -> None:
    for number, value in _fields(attribute):
        if number in (6, 11):
            raise BundleError("holds a graph within a graph, which no export of ours does")
        if number in (22, 23):
            raise BundleError("has sparse weights, which no export of ours has")
        if number in (5, 10):
            _check_tensor(_message(value))


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number == 13 or (number == 14 and value != 0):
            raise BundleError("keeps weights in another file; a bundle's graph holds all its weights itself")


def _compare(what: str, found: Sequence[onnxruntime.NodeArg], expected: Mapping[str, Port]) -> None:
    if [one.name for one in found] != list(expected):
        raise BundleError(f"has the {what}s {', '.join(one.name for one in found) or 'none'}; its facts say {', '.join(expected)}")
    for one, port in zip(found, expected.values(), strict=True):
        fits = len(one.shape) == len(port.shape) and all(
            there == size if size is not None else not isinstance(there, int) for there, size in zip(one.shape, port.shape, strict=True)
        )
        if one.type != port.kind or not fits:
            found_is, should_be = f"{one.type} {_sizes(one.shape)}", f"{port.kind} {_sizes(port.shape)}"
            raise BundleError(f"has the {what} {one.name} of {found_is}; its facts say {should_be}")


def _sizes(shape: Sequence[object]) -> str:
    return f"({', '.join(str(size) if isinstance(size, int) else 'any' for size in shape)})"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message belongs")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode("utf-8", "backslashreplace")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of a message: numbers of varints, and bytes of everything else.

    Raises:
        ValueError, IndexError: when the bytes are no protobuf.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag >> 32:
            raise ValueError("a tag of more than 32 bits")  # of which onnxruntime would read the lower 32
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if length > len(message) - at:
            raise ValueError("a length beyond the end")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 70 bits")
