"""The fusions: where two sequences of tokens, A and X, become one vector z. One small class each, all with the same signature.

Letters: A (B, N_a, d) are the CNN tokens and X (B, N_x, d) the Transformer tokens, both already brought to width d (with the
Transformer off, log-mel and MFCC take these places); a, x (B, d) are their means; σ is the logistic function, ⊙ the product by
element, [· ; ·] puts side by side. Padded tokens are zero, get −∞ before every softmax and are left out of every mean.

``forward(a, x)`` takes the tokens of each level of depth, shallowest first; all but ``HierarchicalCoattention`` look at the last only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ser.model.branches import Tokens
from ser.params.model import Model


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
    """z = [a ; x]: the baseline of Zenkov's parallel CNN–Transformer and its kin."""

    def __init__(self, params: Model, a_width: int, x_width: int, levels: int) -> None:
        super().__init__()
        self.width = a_width + x_width

    def forward(self, a: list[Tokens], x: list[Tokens]) -> Fused:
        """Tokens of any widths → z (B, d_a + d_x)."""
        return Fused(torch.cat([a[-1].mean(), x[-1].mean()], 1), [], [])


class Sum(nn.Module):
    """z = W_a a + W_x x + b: linear in both, the honest control for every gate."""

    def __init__(self, params: Model, a_width: int, x_width: int, levels: int) -> None:
        super().__init__()
        self.width = a_width
        self.a = nn.Linear(a_width, a_width)
        self.x = nn.Linear(x_width, a_width, bias=False)

    def forward(self, a: list[Tokens], x: list[Tokens]) -> Fused:
        """Tokens of width d → z (B, d)."""
        return Fused(self.a(a[-1].mean()) + self.x(x[-1].mean()), [], [])


class Gate(nn.Module):
    """α = σ(a + x); z = α ⊙ (a + x): level 1 of Hashem et al. 2025 (PeerJ CS 3254), without parameters of its own."""

    def __init__(self, params: Model, a_width: int, x_width: int, levels: int) -> None:
        super().__init__()
        self.width = a_width

    def forward(self, a: list[Tokens], x: list[Tokens]) -> Fused:
        """Tokens of width d → z (B, d)."""
        return Fused(_gated(a[-1].mean() + x[-1].mean()), [], [])


class HierarchicalGate(nn.Module):
    """The two levels that Hashem et al. 2025 (PeerJ CS 3254) call hierarchical co-attention, as coded there.

    Level 1 joins the CNNs u, v: α = σ(u + v); c = α ⊙ u + α ⊙ v. Here a *is* u + v, for the CNNs' joint projection is the sum of
    one projection each. Level 2 joins c and the Transformer's t = x: C = W_c c + b_c; T = W_t t + b_t;
    α = σ(C ⊙ T) with ``gate_op: mul`` or σ(C + T) with ``add``; z = α ⊙ (C + T).
    """

    def __init__(self, params: Model, a_width: int, x_width: int, levels: int) -> None:
        super().__init__()
        self.width = a_width
        self.op = params.gate_op
        self.c = nn.Linear(a_width, a_width)
        self.t = nn.Linear(x_width, a_width)

    def forward(self, a: list[Tokens], x: list[Tokens]) -> Fused:
        """Tokens of width d → z (B, d)."""
        c = self.c(_gated(a[-1].mean()))  # (B, d)
        t = self.t(x[-1].mean())  # (B, d)
        gate = torch.sigmoid(c * t if self.op == "mul" else c + t)
        return Fused(gate * (c + t), [], [])


class ParallelCoattention(nn.Module):
    """Parallel co-attention of Lu et al. 2016 (arXiv 1606.00061): each side attends by its affinity to the other, both at once.

    S = tanh(A W_b Xᵀ); H_a = tanh(A W_a + S (X W_x)); H_x = tanh(X W_x + Sᵀ (A W_a));
    p_a = softmax(H_a w_a); p_x = softmax(H_x w_x); â = Σ p_a A; x̂ = Σ p_x X; z = [â ; x̂].
    """

    def __init__(self, params: Model, a_width: int, x_width: int, levels: int) -> None:
        super().__init__()
        self.width = a_width + x_width
        self.attend = _Affinity(a_width)

    def forward(self, a: list[Tokens], x: list[Tokens]) -> Fused:
        """Tokens of width d → z (B, 2d)."""
        p_a, p_x = self.attend(a[-1], x[-1])
        return Fused(torch.cat([_weighted(p_a, a[-1]), _weighted(p_x, x[-1])], 1), [p_a], [p_x])


class AlternatingCoattention(nn.Module):
    """Alternating co-attention of Lu et al. 2016 (arXiv 1606.00061): three looks, each guided by what the last one saw.

    attend(M, g): H = tanh(M W_m + g W_g); p = softmax(H w); Σ p M, each look with weights of its own.
    s = attend(A, 0); x̂ = attend(X, s); â = attend(A, x̂); z = [â ; x̂].
    """

    def __init__(self, params: Model, a_width: int, x_width: int, levels: int) -> None:
        super().__init__()
        self.width = a_width + x_width
        self.summary = _Guided(a_width, guided=False)
        self.look_x = _Guided(x_width, guided=True)
        self.look_a = _Guided(a_width, guided=True)

    def forward(self, a: list[Tokens], x: list[Tokens]) -> Fused:
        """Tokens of width d → z (B, 2d)."""
        summary = _weighted(self.summary(a[-1], None), a[-1])  # (B, d)
        p_x = self.look_x(x[-1], summary)
        x_hat = _weighted(p_x, x[-1])
        p_a = self.look_a(a[-1], x_hat)
        return Fused(torch.cat([_weighted(p_a, a[-1]), x_hat], 1), [p_a], [p_x])


class HierarchicalCoattention(nn.Module):
    """Parallel co-attention at several depths (Lu et al. 2016 over words, phrases, question; here over the stages of the branches).

    Level k gives â_k, x̂_k as in ``ParallelCoattention``; h_1 = tanh(W_1 (â_1 + x̂_1)); h_k = tanh(W_k [(â_k + x̂_k) ; h_{k−1}]);
    z = h of the last level.
    """

    def __init__(self, params: Model, a_width: int, x_width: int, levels: int) -> None:
        super().__init__()
        self.width = a_width
        self.attend = nn.ModuleList(_Affinity(a_width) for _ in range(levels))
        self.encode = nn.ModuleList(nn.Linear(a_width if level == 0 else 2 * a_width, a_width) for level in range(levels))

    def forward(self, a: list[Tokens], x: list[Tokens]) -> Fused:
        """Tokens of width d at each level → z (B, d)."""
        a_weights, x_weights, code = [], [], None
        for attend, encode, a_level, x_level in zip(self.attend, self.encode, a, x, strict=True):
            p_a, p_x = attend(a_level, x_level)
            seen = _weighted(p_a, a_level) + _weighted(p_x, x_level)  # (B, d)
            code = torch.tanh(encode(seen if code is None else torch.cat([seen, code], 1)))  # (B, d)
            a_weights.append(p_a)
            x_weights.append(p_x)
        assert code is not None
        return Fused(code, a_weights, x_weights)


class CrossAttention(nn.Module):
    """Cross-attention as in ViLBERT (Lu et al. 2019, arXiv 1908.02265): each side queries the other.

    A' = LN(A + MHA(A, X, X)); X' = LN(X + MHA(X, A, A)); each goes through M'' = LN(M' + FFN(M')); z = [mean A'' ; mean X''].
    The weights shown are the attention that each token receives, averaged over heads and over the other side's tokens.
    """

    def __init__(self, params: Model, a_width: int, x_width: int, levels: int) -> None:
        super().__init__()
        self.width = a_width + x_width
        self.a = _CrossLayer(a_width, params.heads)
        self.x = _CrossLayer(x_width, params.heads)

    def forward(self, a: list[Tokens], x: list[Tokens]) -> Fused:
        """Tokens of width d → z (B, 2d)."""
        a_seen, x_weights = self.a(a[-1], x[-1])
        x_seen, a_weights = self.x(x[-1], a[-1])
        return Fused(torch.cat([a_seen.mean(), x_seen.mean()], 1), [a_weights], [x_weights])


def _gated(total: Tensor) -> Tensor:
    return torch.sigmoid(total) * total


def _softmax(scores: Tensor, mask: Tensor) -> Tensor:
    return torch.softmax(scores.masked_fill(~mask, -math.inf), -1)


def _weighted(weights: Tensor, tokens: Tokens) -> Tensor:
    """(B, N) and (B, N, d) → (B, d)."""
    return (weights[:, None] @ tokens.values).squeeze(1)


class _Affinity(nn.Module):
    """Weights over both sides from the affinity of every pair of tokens; see ``ParallelCoattention``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.b = nn.Linear(dim, dim, bias=False)
        self.a = nn.Linear(dim, dim, bias=False)
        self.x = nn.Linear(dim, dim, bias=False)
        self.score_a = nn.Linear(dim, 1, bias=False)
        self.score_x = nn.Linear(dim, 1, bias=False)
        nn.init.normal_(self.b.weight, std=1 / dim)  # affinities of tokens of unit scale then start inside tanh's slope

    def forward(self, a: Tokens, x: Tokens) -> tuple[Tensor, Tensor]:
        affinity = torch.tanh(self.b(x.values) @ a.values.transpose(1, 2)).transpose(1, 2)  # (B, N_a, N_x)
        a_seen, x_seen = self.a(a.values), self.x(x.values)  # zero where padded, so they add nothing to the other side
        h_a = torch.tanh(a_seen + affinity @ x_seen)  # (B, N_a, d)
        h_x = torch.tanh(x_seen + affinity.transpose(1, 2) @ a_seen)  # (B, N_x, d)
        return _softmax(self.score_a(h_a).squeeze(2), a.mask), _softmax(self.score_x(h_x).squeeze(2), x.mask)


class _Guided(nn.Module):
    """Weights over one side, led by a vector; see ``AlternatingCoattention``."""

    def __init__(self, dim: int, guided: bool) -> None:
        super().__init__()
        self.m = nn.Linear(dim, dim, bias=False)
        self.g = nn.Linear(dim, dim, bias=False) if guided else None
        self.score = nn.Linear(dim, 1, bias=False)

    def forward(self, tokens: Tokens, guide: Tensor | None) -> Tensor:
        h = self.m(tokens.values)  # (B, N, d)
        if self.g is not None and guide is not None:
            h = h + self.g(guide)[:, None]
        return _softmax(self.score(torch.tanh(h)).squeeze(2), tokens.mask)


class _CrossLayer(nn.Module):
    """One side asks, the other answers; see ``CrossAttention``."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.ffn = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.norm_attention = nn.LayerNorm(dim)
        self.norm_ffn = nn.LayerNorm(dim)

    def forward(self, asking: Tokens, answering: Tokens) -> tuple[Tokens, Tensor]:
        """Tokens (B, N_q, d) and (B, N_k, d) → tokens (B, N_q, d) and the mean attention on each answering token, (B, N_k)."""
        q = self._heads(self.q(asking.values))  # (B, h, N_q, d/h)
        k, v = (self._heads(part) for part in self.kv(answering.values).chunk(2, 2))  # (B, h, N_k, d/h)
        p = _softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]), answering.mask[:, None, None])  # (B, h, N_q, N_k)
        attended = self.out((p @ v).transpose(1, 2).flatten(2))
        x = self.norm_attention(asking.values + attended)
        x = self.norm_ffn(x + self.ffn(x))
        counted = asking.mask.to(p.dtype)
        received = (p.mean(1) * counted[..., None]).sum(1) / counted.sum(1, keepdim=True)
        return Tokens(x * asking.mask[..., None], asking.mask), received

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


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
