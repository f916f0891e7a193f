"""Two gates, one after the other."""

from __future__ import annotations

import torch
from torch import nn

from ser.model.branches import Tokens
from ser.model.fusion import Fused, Fusion, Widths, common_width
from ser.model.weighing import gated
from ser.params.model import Model


class HierarchicalGate(Fusion):
    """The two levels that Hashem et al. 2025 (PeerJ CS 3254) call hierarchical co-attention, as coded there.

    Level 1 joins the CNNs u, v: α = σ(u + v); c = α ⊙ u + α ⊙ v. Here a = u + v, because one
    projection of the concatenated CNN tokens equals the sum of one projection per CNN.
    Level 2 joins c and the Transformer's t = x: C = W_c c + b_c; T = W_t t + b_t;
    α = σ(C ⊙ T) with ``gate_op: mul`` or σ(C + T) with ``add``; z = α ⊙ (C + T).
    """

    formula = "c = σ(a) ⊙ a\nC = W_c c + b_c,  T = W_t x + b_t\nz = σ(C ∘ T) ⊙ (C + T)"
    pooled = True

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__(params, values, levels)
        self.width = common_width(params)
        self.op = params.gate_op
        self.formula = self.formula.replace("∘", "⊙" if self.op == "mul" else "+")
        self.c = nn.Linear(self.pool.width(self.width), self.width)
        self.t = nn.Linear(self.pool.width(self.width), self.width)

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z (B, d)."""
        c = self.c(gated(self.pool.evenly(a[-1])))  # (B, d)
        t = self.t(self.pool.evenly(x[-1]))  # (B, d)
        gate = torch.sigmoid(c * t if self.op == "mul" else c + t)
        return Fused(gate * (c + t), [], [])
