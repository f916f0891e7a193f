"""One gate over the sum."""

from __future__ import annotations

from ser.model.branches import Tokens
from ser.model.fusion import Fused, Fusion, Widths, common_width
from ser.model.weighing import gated
from ser.params.model import Model


class Gate(Fusion):
    """α = σ(a + x); z = α ⊙ (a + x): level 1 of Hashem et al. 2025 (PeerJ CS 3254). It has no parameters."""

    formula = "z = σ(a + x) ⊙ (a + x)"
    pooled = True

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__(params, values, levels)
        self.width = self.pool.width(common_width(params))

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z (B, s)."""
        return Fused(gated(self.pool.evenly(a[-1]) + self.pool.evenly(x[-1])), [], [])
