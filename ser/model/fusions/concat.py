"""Both sides side by side."""

from __future__ import annotations

import torch

from ser.model.branches import Tokens
from ser.model.fusion import Fused, Fusion, Widths
from ser.params.model import Model


class Concat(Fusion):
    """z = [v_a ; v_x]: the baseline of Zenkov's parallel CNN–Transformer and its kin."""

    formula = "z = [v_a ; v_x]"
    pooled = True
    own_width = True
    needs_dim = False

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__(params, values, levels)
        self.width = sum(map(self.pool.width, values))

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z, (B, as wide as both sides pooled)."""
        return Fused(torch.cat([self.pool.evenly(side) for side in values], 1), [], [])
