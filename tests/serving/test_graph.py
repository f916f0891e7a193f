"""Graphs from outside: only those that our exports could have made are loaded, and none runs for ever."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ser.serving.bundle import BundleError
from ser.serving.graph import FLOAT, INTEGER, Graph, Port, check, operators

ROOT = Path(__file__).resolve().parents[2]
TAKES, GIVES = {"x": Port(FLOAT, (None, 3))}, {"y": Port(FLOAT, (None, 3))}


def model(nodes: list[onnx.NodeProto], *tensors: onnx.TensorProto, domain: str = "", sizes: tuple[Any, Any] = ("n", 3)) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in "xy")
    graph = helper.make_graph(nodes, "made", [x], [y], list(tensors))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)], ir_version=9)


def doubled(**how: Any) -> onnx.ModelProto:
    return model([helper.make_node("Add", ["x", "x"], ["y"])], **how)


def opened(proto: onnx.ModelProto) -> Graph:
    return Graph(Path("model.onnx"), proto.SerializeToString(), TAKES, GIVES)


def test_a_graph_runs() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(opened(doubled()).run({"x": x}), 2 * x)
    assert operators(doubled().SerializeToString()) == {"Add"}


def loop() -> onnx.ModelProto:
    """2⁶² rounds of nothing."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in (
        ("round", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("a", TensorProto.FLOAT, ["n", 3]),
        ("still", TensorProto.BOOL, []), ("b", TensorProto.FLOAT, ["n", 3]),
    )]  # fmt: skip
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Identity", ["a"], ["b"])], "body", values[:3], values[3:]
    )
    rounds, go = numpy_helper.from_array(np.array(2**62), "rounds"), numpy_helper.from_array(np.array(True), "start")
    return model([helper.make_node("Loop", ["rounds", "start", "x"], ["y"], body=body)], rounds, go)


def nested() -> onnx.ModelProto:
    """A graph as an attribute of a node that is on the list."""
    proto = doubled()
    proto.graph.node[0].attribute.append(helper.make_attribute("body", doubled().graph))
    return proto


def external(**where: Any) -> onnx.ModelProto:
    tensor = numpy_helper.from_array(np.zeros(3, dtype=np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    if where.get("inside"):
        constant = helper.make_node("Constant", [], ["w"])
        constant.attribute.append(helper.make_attribute("value", tensor))
        return model([constant, helper.make_node("Add", ["x", "w"], ["y"])])
    return model([helper.make_node("Add", ["x", "w"], ["y"])], tensor)


def of_another_domain() -> onnx.ModelProto:
    return model([helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")])


def with_functions() -> onnx.ModelProto:
    proto = doubled()
    imports = [helper.make_opsetid("", 20)]
    proto.functions.append(helper.make_function("own", "Add", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], imports))
    return proto


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (loop(), "uses the operator 'Loop', which no export of ours uses"),
        (nested(), "holds a graph within a graph"),
        (external(), "keeps weights in another file"),
        (external(inside=True), "keeps weights in another file"),
        (of_another_domain(), "uses operators of 'com.microsoft'"),
        (with_functions(), "has functions or training steps of its own"),
        (doubled(sizes=("n", 4)), r"has the input x of tensor\(float\) \(any, 4\); its facts say tensor\(float\) \(any, 3\)"),
        (doubled(sizes=(5, 3)), r"has the input x of tensor\(float\) \(5, 3\); its facts say tensor\(float\) \(any, 3\)"),
        (onnx.ModelProto(), r"is not an ONNX model \(it holds no graph\)"),
    ],
)
def test_what_no_export_made_is_refused(proto: onnx.ModelProto, message: str) -> None:
    with pytest.raises(BundleError, match=f"^model.onnx {message}"):
        opened(proto)


def test_inputs_and_outputs_are_held_against_the_facts() -> None:
    bytes_of = doubled().SerializeToString()
    for takes, gives, message in (
        ({"z": TAKES["x"]}, GIVES, "has the inputs x; its facts say z"),
        ({"x": Port(INTEGER, (None, 3))}, GIVES, r"has the input x of tensor\(float\) \(any, 3\); its facts say tensor\(int64\)"),
        (TAKES, {"y": Port(FLOAT, (2, 3))}, r"has the output y of .*; its facts say tensor\(float\) \(2, 3\)"),
        (TAKES, {"y": Port(FLOAT, (None,))}, "has the output y of"),
    ):
        with pytest.raises(BundleError, match=message):
            Graph(Path("model.onnx"), bytes_of, takes, gives)


@pytest.mark.parametrize("cut", [1, 5, 20, 60])
def test_damaged_bytes_are_refused(cut: int) -> None:
    whole = doubled().SerializeToString()
    with pytest.raises(BundleError):
        Graph(Path("model.onnx"), whole[:-cut], TAKES, GIVES)


def test_any_bytes_are_looked_through_or_refused() -> None:
    """None of them ends in another error, and none takes long."""
    whole = np.frombuffer(external().SerializeToString(), dtype=np.uint8)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        changed = whole.copy()
        changed[random.integers(len(changed), size=3)] = random.integers(256, size=3)
        try:
            check(changed[: random.integers(len(changed) + 1)].tobytes())
        except BundleError:
            refused += 1
    assert refused > 1000


def test_a_run_that_takes_too_long_is_ended() -> None:
    slow = helper.make_node("MatMul", ["x", "w"], ["x1"])
    nodes = [slow, *(helper.make_node("MatMul", [f"x{number}", "w"], [f"x{number + 1}"]) for number in range(1, 2000))]
    nodes.append(helper.make_node("Identity", ["x2000"], ["y"]))
    graph = Graph(
        Path("model.onnx"),
        model(nodes, numpy_helper.from_array(np.eye(600, dtype=np.float32), "w"), sizes=("n", 600)).SerializeToString(),
        {"x": Port(FLOAT, (None, 600))},
        {"y": Port(FLOAT, (None, 600))},
    )
    with pytest.raises(BundleError, match=r"model.onnx did not end within 0.05 s"):
        graph.run({"x": np.ones((600, 600), dtype=np.float32)}, seconds=0.05)


def test_a_run_that_fails_says_so() -> None:
    with pytest.raises(BundleError, match=r"model.onnx fails: "):
        opened(doubled()).run({"x": np.zeros((1, 4), dtype=np.float32)})


def test_a_field_number_that_another_reader_would_cut_hides_nothing() -> None:
    """protobuf in C++ takes 32 bits of a tag: with one more bit set, an operator had no name here and was run there."""
    named = b"\x22\x04Sinh"  # field 4, op_type
    whole = model([helper.make_node("Sinh", ["x"], ["y"])]).SerializeToString()
    assert whole.count(named) == 1
    for beyond in (1, 7):
        tag = bytes([0xA2, 0x80, 0x80, 0x80, beyond << 4])  # the same 32 bits
        hidden = _with_longer(whole, named, tag + named[1:])
        with pytest.raises(BundleError, match=r"is not an ONNX model \(a tag of more than 32 bits\)"):
            Graph(Path("model.onnx"), hidden, TAKES, GIVES)


def _with_longer(model: bytes, old: bytes, new: bytes) -> bytes:
    """The model with other bytes in a node, its lengths put right."""
    proto = onnx.ModelProto.FromString(model)
    node = proto.graph.node[0].SerializeToString().replace(old, new)
    del proto.graph.node[0]
    graph = b"\x0a" + _size(len(node)) + node + proto.graph.SerializeToString()
    proto.ClearField("graph")
    return proto.SerializeToString() + b"\x3a" + _size(len(graph)) + graph


def _size(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def filled(size: int, products: int) -> bytes:
    """A square of ones, multiplied with itself; onnxruntime computes all of it when it opens the graph."""
    shape = numpy_helper.from_array(np.array([size, size]), "s")
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["m0"], value=numpy_helper.from_array(np.ones(1, np.float32), "one"))]
    nodes += [helper.make_node("MatMul", [f"m{number}", "m0"], [f"m{number + 1}"]) for number in range(products)]
    nodes += [helper.make_node("ReduceMean", [f"m{products}"], ["r"], keepdims=0), helper.make_node("Add", ["x", "r"], ["y"])]
    return model(nodes, shape).SerializeToString()


def test_a_graph_that_takes_too_long_to_open_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser.serving.graph.SECONDS", 0.1)
    with pytest.raises(BundleError, match=r"model.onnx could not be opened within 0.1 s"):
        Graph(Path("model.onnx"), filled(1000, 20), TAKES, GIVES)


def test_one_operator_that_takes_too_long_is_left() -> None:
    """onnxruntime itself looks at the time only between two operators."""
    product = helper.make_node("MatMul", ["x", "x"], ["y"])
    any_size = {name: Port(FLOAT, (None, None)) for name in "xy"}
    proto = model([product], sizes=("n", "m"))
    graph = Graph(Path("model.onnx"), proto.SerializeToString(), {"x": any_size["x"]}, {"y": any_size["y"]})
    begun = time.monotonic()
    with pytest.raises(BundleError, match=r"model.onnx did not end within 0.05 s"):
        graph.run({"x": np.ones((3000, 3000), dtype=np.float32)}, seconds=0.05)
    alone = time.monotonic() - begun
    begun = time.monotonic()
    graph.run({"x": np.ones((3000, 3000), dtype=np.float32)})
    assert alone < time.monotonic() - begun


ENDS = """
import os, signal, sys, threading
import onnx
from onnx import helper, numpy_helper
import numpy as np
from pathlib import Path
from tests.serving.test_graph import FLOAT, Graph, Port, model
from ser.serving.bundle import BundleError
how = sys.argv[1]
nodes = [helper.make_node("MatMul", ["x" if number == 0 else f"x{number}", "w"], [f"x{number + 1}"]) for number in range(2000)]
nodes.append(helper.make_node("Identity", ["x2000"], ["y"]))
weights = numpy_helper.from_array(np.eye(600, dtype=np.float32), "w")
graph = Graph(
    Path("model.onnx"), model(nodes, weights, sizes=("n", 600)).SerializeToString(), {"x": Port(FLOAT, (None, 600))},
    {"y": Port(FLOAT, (None, 600))},
)
if how == "handled":
    signal.signal(signal.SIGINT, lambda *_: print("handled", flush=True))
if how != "late":
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    result = graph.run({"x": np.ones((600, 600), dtype=np.float32)}, seconds=0.1 if how == "late" else 300)
    print(result.sum())
except KeyboardInterrupt:
    sys.exit(130)
except BundleError:
    sys.exit(1)
"""


@pytest.mark.parametrize(("how", "status"), [("interrupted", 130), ("handled", 0), ("late", 1)])
def test_a_process_that_ends_after_a_run_was_left_does_not_crash(how: str, status: int) -> None:
    """Python ends its threads, and one inside onnxruntime would take the process with it, by SIGABRT or SIGSEGV."""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", ENDS, how], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr) == (status, "")
        assert done.stdout == ("handled\n360000.0\n" if how == "handled" else "")
