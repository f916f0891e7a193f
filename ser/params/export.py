"""``export``: how a trained model is packed."""

from __future__ import annotations

from typing import Literal

from ser.params.base import Section


class Export(Section):
    model: Literal["folds", "refit"]
    """What goes into the bundle. folds: the networks or regressions of all folds and seeds, whose probabilities are averaged. refit: one
    regression fitted on all clips of the corpus; ``model.kind: linear`` only. The score is cross-validation's in both cases."""
    precision: Literal["auto", "float32", "float16", "int8"]
    """How the weights of a pretrained encoder are stored; it computes in float32. int8: its matrices in 8 bit, a little over half the size
    of float16. auto: the smallest form that changes no probability of sample clips by more than 0.001.
    Networks trained here are always float32."""
