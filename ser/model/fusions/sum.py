"""A plain sum."""

from __future__ import annotations

from torch import nn

from ser.model.branches import Tokens
from ser.model.fusion import Fused, Fusion, Widths, common_width
from ser.params.model import Model


class Sum(Fusion):
    """z = W_a v_a + W_x v_x + b: linear in both sides; the baseline that a gate must beat."""

    formula = "z = W_a v_a + W_x v_x + b"
    pooled = True
    own_width = True

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__(params, values, levels)
        self.width = common_width(params)
        self.a = nn.Linear(self.pool.width(values[0]), self.width)
        self.x = nn.Linear(self.pool.width(values[1]), self.width, bias=False)

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z (B, d)."""
        return Fused(self.a(self.pool.evenly(values[0])) + self.x(self.pool.evenly(values[1])), [], [])
