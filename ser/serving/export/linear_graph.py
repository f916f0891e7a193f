"""Regressions on pooled hidden states (``model.kind: linear``) as one ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from ser.serving.bundle import POOLED, PROBABILITIES


class Regression(Protocol):
    """A fitted regression: logits = ((pooled[columns] − centre) / scale) · weightᵀ + bias."""

    columns: Tensor
    centre: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor


def to_onnx(regressions: Sequence[Regression], columns: int) -> bytes:
    """Regressions → one ONNX model from ``pooled`` (B, columns) to ``probabilities`` (regressions, B, K), both float32.

    Each reads columns of its own, for each fold may have chosen other layers.

    Args:
        regressions: one or more, of the same classes.
        columns: of a clip's pooled states, over all layers that are stored.
    """
    nodes: list[NodeProto] = []
    tensors = [numpy_helper.from_array(np.array([0], dtype=np.int64), "first")]
    for number, one in enumerate(regressions):
        own = {name: f"{number}/{name}" for name in ("columns", "centre", "scale", "weight", "bias")}
        values = {name: getattr(one, name).numpy() for name in own} | {"weight": one.weight.numpy().T}
        tensors += [numpy_helper.from_array(np.ascontiguousarray(values[name]), own[name]) for name in own]
        x, chain = POOLED, ("Gather", "Sub", "Div", "MatMul", "Add")
        for operator, name in zip(chain, own.values(), strict=True):
            result = f"{number}/{operator}"
            nodes.append(helper.make_node(operator, [x, name], [result], result))
            if operator == "Gather":
                nodes[-1].attribute.append(helper.make_attribute("axis", 1))
            x = result
        nodes.append(helper.make_node("Softmax", [x], [f"{number}/softmax"], f"{number}/softmax", axis=1))
        nodes.append(helper.make_node("Unsqueeze", [f"{number}/softmax", "first"], [f"{number}/stacked"], f"{number}/stack"))
    nodes.append(helper.make_node("Concat", [f"{number}/stacked" for number in range(len(regressions))], [PROBABILITIES], "concat", axis=0))
    taken = helper.make_tensor_value_info(POOLED, TensorProto.FLOAT, ["batch", columns])
    shape: list[int | str | None] = [len(regressions), "batch", len(regressions[0].bias)]
    given = helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "linear", [taken], [given], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9, producer_name="ser")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)
