"""What ``model.onnx`` takes, and what its regressions know of the clips that they were fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from ser.encoders.pooled import STATISTICS
from ser.serving import bundle as bundles
from ser.serving.bundle import LENGTHS, POOLED, STATES, Bundle, BundleError
from ser.serving.graph import FLOAT, INTEGER, Port, constants
from ser.views.features import widths


@dataclass(frozen=True)
class Standard:
    """What a model knows of the clips that it was trained on.

    Attributes:
        answer: logarithm of its probabilities for the average training clip, (classes,); zeros where that is not known.
        centre, scale: mean and standard deviation of each pooled column over the training clips, (columns,); scale is ∞ where no regression
            reads a column. None where the model is not a regression.
    """

    answer: np.ndarray
    centre: np.ndarray | None = None
    scale: np.ndarray | None = None


def standard(model: bytes, facts: Bundle, average: Callable[[np.ndarray], np.ndarray]) -> Standard:
    """The standard of a model.

    A regression stores mean and scale of the columns that it reads, and its bias is what it says of the average clip.
    A graph without these numbers, as of a network, has none.

    Args:
        model: bytes of ``model.onnx``.
        facts: of the bundle.
        average: probabilities of all networks (networks, classes) → their average (classes,).
    """
    unknown = Standard(np.zeros(len(facts.classes)))
    if facts.kind != "linear" or facts.encoder is None:
        return unknown
    members = range(len(facts.networks))
    found = constants(model, {f"{member}/{name}" for member in members for name in ("columns", "centre", "scale", "bias")})
    width = len(facts.encoder.layers) * STATISTICS * facts.encoder.width
    centre, precision, count = np.zeros(width), np.zeros(width), np.zeros(width)
    for member in members:
        each = [found.get(f"{member}/{name}", np.zeros(0)) for name in ("columns", "centre", "scale", "bias")]
        columns, bias = each[0], each[3]
        if not (columns.shape == each[1].shape == each[2].shape and len(columns) and bias.shape == (len(facts.classes),)):
            return unknown
        if columns.dtype != np.int64 or columns.min() < 0 or columns.max() >= width or len(np.unique(columns)) != len(columns):
            return unknown
        if not (np.isfinite(each[1]).all() and np.isfinite(bias).all() and (each[2] > 0).all()):
            return unknown
        centre[columns] += each[1]
        precision[columns] += 1 / each[2]
        count[columns] += 1
    biases = np.stack([found[f"{member}/bias"] for member in members]).astype(np.float64)
    with np.errstate(divide="ignore"):
        answer = np.log(average(softmax(biases, axis=1)))
        return Standard(answer, centre / np.maximum(count, 1), np.maximum(count, 1) / precision)


def takes(facts: Bundle) -> dict[str, Port]:
    """Inputs that ``model.onnx`` must have, as the facts say.

    Raises:
        BundleError: when they name one that cannot be made.
    """
    layers, width = (len(facts.encoder.layers), facts.encoder.width) if facts.encoder else (0, 0)
    known = {view: Port(FLOAT, (None, None, columns)) for view, columns in widths(facts.features).items()}
    known |= {
        STATES: Port(FLOAT, (None, None, layers, width)),
        POOLED: Port(FLOAT, (None, layers * STATISTICS * width)),
        LENGTHS: Port(INTEGER, (None,)),
    }
    if unknown := [name for name in facts.reads if name not in known]:
        raise BundleError(f"{bundles.FACTS}: reads {unknown[0][:40]!r}, which is neither a view nor of an encoder: export it again")
    return {name: known[name] for name in facts.reads}
