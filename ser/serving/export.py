"""Trained networks → a bundle that runs without torch: one ONNX graph, the preprocessing it needs, and a model card."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor, nn

from ser import SerError
from ser.evaluation.result import Result
from ser.model.network import Network
from ser.params.corpora import SYNTHETIC_NOTICE, Source, Synthetic
from ser.runtime.disk import written_whole
from ser.serving.bundle import CARD, FACTS, MODEL, Bundle, Member, Score
from ser.serving.card import card, licence
from ser.training.inference import Trained, describe, load_network

LENGTHS, OUTPUT = "lengths", "probabilities"


def export(models: Path, folder: Path, source: Source, result: Result | None) -> Bundle:
    """Write the bundle of a corpus; the folder appears only when it is whole.

    Args:
        models: ``models/<corpus>``.
        folder: ``exports/<corpus>``.
        source: where the corpus comes from, for licence and notice.
        result: of ``metrics/corpora/<corpus>.json``; None if it was not evaluated.

    Raises:
        SerError: if the models are missing or the exported graph disagrees with them.
    """
    trained = describe(models)
    members = [
        Member(fold=fold, seed=seed, temperature=_temperature(result, fold, seed)) for fold in trained.folds for seed in trained.seeds
    ]
    model = b""
    if trained.model.kind == "network":
        cpu = torch.device("cpu")
        networks = (load_network(models, trained, member.fold, member.seed, cpu) for member in members)
        model = to_onnx([network for network in networks if isinstance(network, Network)])
    facts = Bundle(
        version=1,
        corpus=trained.corpus,
        classes=trained.classes,
        networks=members if model else [],
        preprocess=trained.preprocess,
        features=trained.features,
        max_frames=trained.max_frames,
        notice=SYNTHETIC_NOTICE if isinstance(source, Synthetic) else "",
        licence=licence(trained.corpus, source),
        edition=(result.edition or "") if result else "",
        protocol=result.protocol if result else "",
        speaker_independent=result.speaker_independent if result else None,
        score=_score(result),
        model_sha256=hashlib.sha256(model).hexdigest() if model else "",
    )
    with written_whole(folder) as partial:
        if model:
            (partial / MODEL).write_bytes(model)
        (partial / FACTS).write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (partial / CARD).write_text(card(facts, _parameters(trained)), encoding="utf-8")
    return facts


class _Probabilities(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, views: dict[str, Tensor], lengths: Tensor) -> Tensor:
        return self.network(views, lengths).softmax(1)


def to_onnx(networks: list[Network]) -> bytes:
    """Networks of one shape → one ONNX model.

    Inputs are each view by its name, (B, T, columns) float32, and ``lengths`` (B,) int64, for any B and T ≥ 1; the
    output ``probabilities`` is (networks, B, K) float32. One network is traced and its graph repeated with the others' weights, which
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
    views = {view: torch.zeros(2, 128, width) for view, width in network.widths.items()}
    batch, time = torch.export.Dim("batch"), torch.export.Dim("frames")
    with _quiet():
        program = torch.onnx.export(
            wrapped,
            (views, frames),
            input_names=[*network.widths, LENGTHS],
            output_names=[OUTPUT],
            dynamic_shapes={"views": {view: {0: batch, 1: time} for view in views}, LENGTHS: {0: batch}},
            dynamo=True,
            optimize=False,  # so that every weight keeps its name
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for value in model.graph.input:
        for note in value.metadata_props:
            if note.key.endswith("original_node_name"):
                note.value = value.name  # the exporter writes where in the arguments it was: views_log_mel
    return model


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
    inputs = {value.name for value in graph.input}
    own = {initializer.name for initializer in graph.initializer if initializer.name in weights[0]}
    shared = [initializer for initializer in graph.initializer if initializer.name not in own]
    common = inputs | {initializer.name for initializer in shared} | {""}
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
        nodes.append(helper.make_node("Unsqueeze", [prefix + OUTPUT, "first"], [f"{prefix}stacked"], f"{prefix}stack"))
        stacked.append(f"{prefix}stacked")
    tensors.append(numpy_helper.from_array(np.array([0], dtype=np.int64), "first"))
    nodes.append(helper.make_node("Concat", stacked, [OUTPUT], "concat", axis=0))
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    output = helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [len(weights), "batch", classes])
    return helper.make_graph(nodes, "ser", list(graph.input), [output], tensors)


def _temperature(result: Result | None, fold: int, seed: int) -> float | None:
    temperatures = result.calibration.temperatures if result else []
    return next((one.temperature for one in temperatures if (one.fold, one.seed) == (fold, seed)), None)


def _score(result: Result | None) -> Score | None:
    if result is None:
        return None
    limits = result.ci.limits["ua"]
    return Score.model_validate(
        {
            **{name: result.scores[name] for name in ("ua", "wa", "macro_f1")},
            "ua_interval": list(limits) if limits else None,
            "confidence": result.ci.confidence,
            "clips": result.n,
            "chance_ua": result.baselines.chance.ua,
        }
    )


def _parameters(trained: Trained) -> int:
    """Weights of one network."""
    from ser.training.inference import new_network

    return sum(weight.numel() for weight in new_network(trained).parameters()) if trained.model.kind == "network" else 0
