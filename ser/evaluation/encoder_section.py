"""The section ``encoder`` of a metrics file: the frozen pretrained encoder behind a result (``ser.evaluation.encoder`` fills it)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ser.params.base import Section


class EncoderRead(Section):
    """What one network reads of the encoder's stored layers."""

    fold: int
    seed: int
    layers: list[int] | None = None
    """Those that the regression reads (``model.kind: linear``, ``train.warm_start``); absent without one."""
    layer_weights: list[list[Annotated[float, Field(ge=0, le=1)]]] | None = None
    """Shares of the stored layers in the branch ``encoder``, for each depth; absent without the branch."""


class EncoderUsed(Section):
    """The frozen pretrained encoder behind a result."""

    name: str
    layers: list[int]
    """Stored hidden states."""
    sha256: str
    licence: str
    networks: list[EncoderRead]

    @model_validator(mode="after")
    def shares_of_all_layers(self) -> EncoderUsed:
        """Each network has a share for each stored layer, at as many depths as the others."""
        shares = [one.layer_weights for one in self.networks if one.layer_weights is not None]
        if any(len(depth) != len(self.layers) for depths in shares for depth in depths) or len({len(depths) for depths in shares}) > 1:
            raise ValueError(f"layer_weights are not {len(self.layers)} shares for each network and depth")
        return self
