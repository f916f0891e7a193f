"""The section ``encoder`` of a metrics file: the frozen pretrained encoder behind a result (``ser.evaluation.encoder`` fills it)."""

from __future__ import annotations

from ser.params.base import Section


class EncoderRead(Section):
    """What one network reads of the encoder's stored layers."""

    fold: int
    seed: int
    layers: list[int] | None = None
    """Those that the regression reads (``model.kind: linear``, ``train.warm_start``); absent without one."""
    layer_weights: list[list[float]] | None = None
    """Shares of the stored layers in the branch ``encoder``, for each depth; absent without the branch."""


class EncoderUsed(Section):
    """The frozen pretrained encoder behind a result."""

    name: str
    layers: list[int]
    """Stored hidden states."""
    sha256: str
    licence: str
    networks: list[EncoderRead]
