"""The fusions: where two sequences of tokens, A and X, become one vector z. One small class each, all with the same signature.

Letters: A (B, N_a, d) are the CNN tokens and X (B, N_x, d) the Transformer tokens, both brought to width d (with the Transformer off,
log-mel and MFCC take these places); V_a (B, N_a, v_a), V_x (B, N_x, v_x) are the same tokens in their own width, as their branches made
them. Where a fusion only weighs tokens, A and X decide on the weights, as keys, and V_a, V_x are what is weighed. σ is the logistic
function, ⊙ the product by element, [· ; ·] puts side by side.

Weights p over tokens M sum them up in pool(p, M) = Σ p M; with ``statistics: mean_std`` the standard deviation stands beside the mean,
pool(p, M) = [Σ p M ; √(Σ p M² − (Σ p M)²)] (attentive statistics pooling, Okabe et al. 2018, arXiv 1803.10963). s is the width of the
outcome for tokens of width d, that is d or 2d. a, x (B, s) are A, X pooled with equal weights, v_a, v_x the same of V_a, V_x.
Padded tokens are zero, get −∞ before every softmax and are left out of every mean.

``forward(a, x, values)`` takes A and X of each level of depth, shallowest first (all but ``HierarchicalCoattention`` look at the last
only), and V_a, V_x of the last.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ser.model.branches import Tokens
from ser.model.weighing import Affinity, CrossLayer, Guided, Pool, weighted
from ser.params.model import Model

OWN_WIDTH = ("concat", "sum")
"""Fusions that use V_a and V_x alone, so that nothing has to be brought to a common width."""

Widths = tuple[int, int]  # v_a, v_x


class Fused(NamedTuple):
    """What a fusion gives.

    Attributes:
        z: (B, width).
        a_weights: attention over A's tokens for each level, (B, N_a), summing to 1; empty where the fusion has none.
        x_weights: the same over X's tokens, (B, N_x).
    """

    z: Tensor
    a_weights: list[Tensor]
    x_weights: list[Tensor]


class Concat(nn.Module):
    """z = [v_a ; v_x]: the baseline of Zenkov's parallel CNN–Transformer and its kin."""

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__()
        self.pool = Pool(params)
        self.width = sum(map(self.pool.width, values))

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z, (B, as wide as both sides pooled)."""
        return Fused(torch.cat([self.pool.evenly(side) for side in values], 1), [], [])


class Sum(nn.Module):
    """z = W_a v_a + W_x v_x + b: linear in both, the honest control for every gate."""

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__()
        self.pool = Pool(params)
        self.width = _common(params)
        self.a = nn.Linear(self.pool.width(values[0]), self.width)
        self.x = nn.Linear(self.pool.width(values[1]), self.width, bias=False)

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z (B, d)."""
        return Fused(self.a(self.pool.evenly(values[0])) + self.x(self.pool.evenly(values[1])), [], [])


class Gate(nn.Module):
    """α = σ(a + x); z = α ⊙ (a + x): level 1 of Hashem et al. 2025 (PeerJ CS 3254), without parameters of its own."""

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__()
        self.pool = Pool(params)
        self.width = self.pool.width(_common(params))

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z (B, s)."""
        return Fused(_gated(self.pool.evenly(a[-1]) + self.pool.evenly(x[-1])), [], [])


class HierarchicalGate(nn.Module):
    """The two levels that Hashem et al. 2025 (PeerJ CS 3254) call hierarchical co-attention, as coded there.

    Level 1 joins the CNNs u, v: α = σ(u + v); c = α ⊙ u + α ⊙ v. Here a *is* u + v, for the CNNs' joint projection is the sum of
    one projection each. Level 2 joins c and the Transformer's t = x: C = W_c c + b_c; T = W_t t + b_t;
    α = σ(C ⊙ T) with ``gate_op: mul`` or σ(C + T) with ``add``; z = α ⊙ (C + T).
    """

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__()
        self.pool = Pool(params)
        self.width = _common(params)
        self.op = params.gate_op
        self.c = nn.Linear(self.pool.width(self.width), self.width)
        self.t = nn.Linear(self.pool.width(self.width), self.width)

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z (B, d)."""
        c = self.c(_gated(self.pool.evenly(a[-1])))  # (B, d)
        t = self.t(self.pool.evenly(x[-1]))  # (B, d)
        gate = torch.sigmoid(c * t if self.op == "mul" else c + t)
        return Fused(gate * (c + t), [], [])


class ParallelCoattention(nn.Module):
    """Parallel co-attention of Lu et al. 2016 (arXiv 1606.00061): each side attends by its affinity to the other, both at once.

    S = tanh(A W_b Xᵀ); H_a = tanh(A W_a + S (X W_x)); H_x = tanh(X W_x + Sᵀ (A W_a));
    p_a = softmax(H_a w_a); p_x = softmax(H_x w_x); â = pool(p_a, V_a); x̂ = pool(p_x, V_x); z = [â ; x̂].
    """

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__()
        self.pool = Pool(params)
        self.width = sum(map(self.pool.width, values))
        self.attend = Affinity(_common(params))

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z, (B, as wide as both sides pooled)."""
        p_a, p_x = self.attend(a[-1], x[-1])
        return Fused(torch.cat([self.pool(p_a, values[0]), self.pool(p_x, values[1])], 1), [p_a], [p_x])


class AlternatingCoattention(nn.Module):
    """Alternating co-attention of Lu et al. 2016 (arXiv 1606.00061): three looks, each guided by what the last one saw.

    look(M, g): H = tanh(M W_m + g W_g); p = softmax(H w), each look with weights of its own.
    p_s = look(A, 0); p_x = look(X, Σ p_s A); p_a = look(A, Σ p_x X); z = [pool(p_a, V_a) ; pool(p_x, V_x)].
    """

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__()
        self.pool = Pool(params)
        self.width = sum(map(self.pool.width, values))
        dim = _common(params)
        self.summary = Guided(dim, guided=False)
        self.look_x = Guided(dim, guided=True)
        self.look_a = Guided(dim, guided=True)

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z, (B, as wide as both sides pooled)."""
        p_x = self.look_x(x[-1], weighted(self.summary(a[-1], None), a[-1].values))
        p_a = self.look_a(a[-1], weighted(p_x, x[-1].values))
        return Fused(torch.cat([self.pool(p_a, values[0]), self.pool(p_x, values[1])], 1), [p_a], [p_x])


class HierarchicalCoattention(nn.Module):
    """Parallel co-attention at several depths (Lu et al. 2016 over words, phrases, question; here over the stages of the branches).

    Level k gives p_a, p_x as in ``ParallelCoattention``; â_k = pool(p_a, A_k), x̂_k = pool(p_x, X_k);
    h_1 = tanh(W_1 (â_1 + x̂_1)); h_k = tanh(W_k [(â_k + x̂_k) ; h_{k−1}]);
    z = h of the last level.
    """

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__()
        self.pool = Pool(params)
        self.width = _common(params)
        self.attend = nn.ModuleList(Affinity(self.width) for _ in range(levels))
        seen = self.pool.width(self.width)
        self.encode = nn.ModuleList(nn.Linear(seen if level == 0 else seen + self.width, self.width) for level in range(levels))

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """Tokens of width d at each level → z (B, d)."""
        a_weights, x_weights, code = [], [], None
        for attend, encode, a_level, x_level in zip(self.attend, self.encode, a, x, strict=True):
            p_a, p_x = attend(a_level, x_level)
            seen = self.pool(p_a, a_level) + self.pool(p_x, x_level)  # (B, s)
            code = torch.tanh(encode(seen if code is None else torch.cat([seen, code], 1)))  # (B, d)
            a_weights.append(p_a)
            x_weights.append(p_x)
        assert code is not None
        return Fused(code, a_weights, x_weights)


class CrossAttention(nn.Module):
    """Cross-attention as in ViLBERT (Lu et al. 2019, arXiv 1908.02265): each side queries the other.

    A' = LN(A + MHA(A, X, X)); X' = LN(X + MHA(X, A, A)); each goes through M'' = LN(M' + FFN(M')); z = [a'' ; x''].
    The weights shown are the attention that each token receives, averaged over heads and over the other side's tokens.
    """

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__()
        self.pool = Pool(params)
        dim = _common(params)
        self.width = 2 * self.pool.width(dim)
        self.a = CrossLayer(dim, params.heads)
        self.x = CrossLayer(dim, params.heads)

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z (B, 2s)."""
        a_seen, x_weights = self.a(a[-1], x[-1])
        x_seen, a_weights = self.x(x[-1], a[-1])
        return Fused(torch.cat([self.pool.evenly(a_seen), self.pool.evenly(x_seen)], 1), [a_weights], [x_weights])


def _common(params: Model) -> int:
    """Width d."""
    assert params.dim is not None, "checked with the parameters"
    return params.dim


def _gated(total: Tensor) -> Tensor:
    return torch.sigmoid(total) * total


Fusion = Concat | Sum | Gate | HierarchicalGate | ParallelCoattention | AlternatingCoattention | HierarchicalCoattention | CrossAttention
FUSIONS: dict[str, type[Fusion]] = {
    "concat": Concat,
    "sum": Sum,
    "gate": Gate,
    "hierarchical_gate": HierarchicalGate,
    "parallel_coattention": ParallelCoattention,
    "alternating_coattention": AlternatingCoattention,
    "hierarchical_coattention": HierarchicalCoattention,
    "cross_attention": CrossAttention,
}
