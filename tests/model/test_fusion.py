"""Each fusion against its equation, written again in numpy for one clip without padding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ser.model.branches import Tokens, token_mask
from ser.model.fusion import FUSIONS, Fusion

D = 6
A_COUNTS, X_COUNTS = [5, 2, 1], [7, 7, 3]
Weights = dict[str, np.ndarray]


def sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def layer_norm(rows: np.ndarray, w: Weights, name: str) -> np.ndarray:
    centred = rows - rows.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def concat(w: Weights, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.concatenate([a.mean(0), x.mean(0)])


def weighted_sum(w: Weights, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    return w["a.weight"] @ a.mean(0) + w["a.bias"] + w["x.weight"] @ x.mean(0)


def gate(w: Weights, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    total = a.mean(0) + x.mean(0)
    return sigmoid(total) * total


def hierarchical_gate(w: Weights, a: np.ndarray, x: np.ndarray, op: str) -> np.ndarray:
    u = v = a.mean(0) / 2  # level 1 depends on u + v alone
    c = sigmoid(u + v) * u + sigmoid(u + v) * v
    big_c = w["c.weight"] @ c + w["c.bias"]
    big_t = w["t.weight"] @ x.mean(0) + w["t.bias"]
    return sigmoid(big_c * big_t if op == "mul" else big_c + big_t) * (big_c + big_t)


def affinity_attention(w: Weights, prefix: str, a: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p_a, p_x of Lu et al., with tokens as rows: W_b is stored as written, W_a and W_x transposed, as ``nn.Linear`` does."""
    n_a, n_x = len(a), len(x)
    w_b, w_a, w_x = w[f"{prefix}b.weight"], w[f"{prefix}a.weight"].T, w[f"{prefix}x.weight"].T
    s = np.empty((n_a, n_x))
    for i in range(n_a):
        for j in range(n_x):
            s[i, j] = np.tanh(a[i] @ w_b @ x[j])
    h_a = np.stack([np.tanh(a[i] @ w_a + sum(s[i, j] * (x[j] @ w_x) for j in range(n_x))) for i in range(n_a)])
    h_x = np.stack([np.tanh(x[j] @ w_x + sum(s[i, j] * (a[i] @ w_a) for i in range(n_a))) for j in range(n_x)])
    return softmax(h_a @ w[f"{prefix}score_a.weight"][0]), softmax(h_x @ w[f"{prefix}score_x.weight"][0])


def parallel(w: Weights, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    p_a, p_x = affinity_attention(w, "attend.", a, x)
    return np.concatenate([p_a @ a, p_x @ x])


def attend(w: Weights, name: str, m: np.ndarray, g: np.ndarray | None) -> np.ndarray:
    guide = 0 if g is None else w[f"{name}.g.weight"] @ g
    h = np.stack([np.tanh(w[f"{name}.m.weight"] @ row + guide) for row in m])
    return softmax(h @ w[f"{name}.score.weight"][0]) @ m


def alternating(w: Weights, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    s = attend(w, "summary", a, None)
    x_hat = attend(w, "look_x", x, s)
    return np.concatenate([attend(w, "look_a", a, x_hat), x_hat])


def hierarchical(w: Weights, levels: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    h: np.ndarray | None = None
    for k, (a, x) in enumerate(levels):
        p_a, p_x = affinity_attention(w, f"attend.{k}.", a, x)
        seen = p_a @ a + p_x @ x
        joined = seen if h is None else np.concatenate([seen, h])
        h = np.tanh(w[f"encode.{k}.weight"] @ joined + w[f"encode.{k}.bias"])
    assert h is not None
    return h


def cross_side(w: Weights, name: str, m: np.ndarray, other: np.ndarray, heads: int) -> np.ndarray:
    q = m @ w[f"{name}.q.weight"].T + w[f"{name}.q.bias"]
    k, v = np.split(other @ w[f"{name}.kv.weight"].T + w[f"{name}.kv.bias"], 2, axis=1)
    width = D // heads
    parts = []
    for head in range(heads):
        columns = slice(head * width, (head + 1) * width)
        parts.append(softmax(q[:, columns] @ k[:, columns].T / np.sqrt(width)) @ v[:, columns])
    attended = np.concatenate(parts, 1) @ w[f"{name}.out.weight"].T + w[f"{name}.out.bias"]
    seen = layer_norm(m + attended, w, f"{name}.norm_attention")
    hidden = np.maximum(seen @ w[f"{name}.ffn.0.weight"].T + w[f"{name}.ffn.0.bias"], 0)
    return layer_norm(seen + hidden @ w[f"{name}.ffn.2.weight"].T + w[f"{name}.ffn.2.bias"], w, f"{name}.norm_ffn").mean(0)


def cross(w: Weights, a: np.ndarray, x: np.ndarray, heads: int) -> np.ndarray:
    return np.concatenate([cross_side(w, "a", a, x, heads), cross_side(w, "x", x, a, heads)])


def tokens(counts: list[int], seed: int) -> Tokens:
    mask = token_mask(torch.tensor(counts), 1, max(counts) + 2)
    values = torch.randn(len(counts), max(counts) + 2, D, generator=torch.Generator().manual_seed(seed))
    return Tokens(values * mask[..., None], mask)


def made(shrunk, name: str, levels: int = 1, **changes) -> Fusion:
    torch.manual_seed(0)
    fusion = FUSIONS[name](shrunk(fusion=name, dim=D, heads=2, **changes), D, D, levels)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # all parts of the formula matter, biases too
    return fusion


EQUATIONS: list[tuple[str, dict, Callable[..., np.ndarray]]] = [
    ("concat", {}, concat),
    ("sum", {}, weighted_sum),
    ("gate", {}, gate),
    ("hierarchical_gate", {"gate_op": "mul"}, lambda w, a, x: hierarchical_gate(w, a, x, "mul")),
    ("hierarchical_gate", {"gate_op": "add"}, lambda w, a, x: hierarchical_gate(w, a, x, "add")),
    ("parallel_coattention", {}, parallel),
    ("alternating_coattention", {}, alternating),
    ("hierarchical_coattention", {}, lambda w, a, x: hierarchical(w, [(a, x)])),
    ("cross_attention", {}, lambda w, a, x: cross(w, a, x, heads=2)),
]


@pytest.mark.parametrize(("name", "changes", "equation"), EQUATIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_fusion_equals_its_equation(shrunk, name: str, changes: dict, equation: Callable[..., np.ndarray]) -> None:
    fusion = made(shrunk, name, **changes)
    a, x = tokens(A_COUNTS, 1), tokens(X_COUNTS, 2)
    z = fusion([a], [x]).z.detach().numpy()
    weights = {key: value.numpy().astype(np.float64) for key, value in fusion.state_dict().items()}
    assert z.shape == (3, fusion.width)
    for clip, (n_a, n_x) in enumerate(zip(A_COUNTS, X_COUNTS, strict=True)):
        expected = equation(weights, a.values[clip, :n_a].double().numpy(), x.values[clip, :n_x].double().numpy())
        np.testing.assert_allclose(z[clip], expected, atol=2e-5)


def test_every_fusion_is_held_to_an_equation() -> None:
    assert {name for name, _, _ in EQUATIONS} == set(FUSIONS)


def test_hierarchical_coattention_over_three_depths(shrunk) -> None:
    fusion = made(shrunk, "hierarchical_coattention", levels=3)
    a = [tokens([8, 3], 1), tokens([4, 2], 2), tokens([2, 1], 3)]
    x = [tokens([5, 5], 4), tokens([5, 5], 5), tokens([5, 5], 6)]
    z = fusion(a, x).z.detach().numpy()
    weights = {key: value.numpy().astype(np.float64) for key, value in fusion.state_dict().items()}
    for clip in range(2):
        levels = [
            (m.values[clip][m.mask[clip]].double().numpy(), n.values[clip][n.mask[clip]].double().numpy())
            for m, n in zip(a, x, strict=True)
        ]
        np.testing.assert_allclose(z[clip], hierarchical(weights, levels), atol=2e-5)


def test_hierarchical_gate_on_numbers_worked_by_hand(shrunk) -> None:
    fusion = FUSIONS["hierarchical_gate"](shrunk(fusion="hierarchical_gate", dim=4), 1, 1, 1)
    for name, value in {"c.weight": 2.0, "c.bias": 0.5, "t.weight": -1.0, "t.bias": 1.0}.items():
        fusion.state_dict()[name].fill_(value)
    one = torch.ones(1, 1, dtype=torch.bool)
    z = fusion([Tokens(torch.tensor([[[1.0]]]), one)], [Tokens(torch.tensor([[[3.0]]]), one)]).z
    # c = σ(1)·1 = 0.731059; C = 2c + 0.5 = 1.962117; T = −3 + 1 = −2; α = σ(C·T) = σ(−3.924234) = 0.0193748; z = α (C + T)
    assert z.item() == pytest.approx(0.0193748 * (1.962117 - 2.0), abs=1e-7)


@pytest.mark.parametrize("name", ["parallel_coattention", "alternating_coattention", "hierarchical_coattention", "cross_attention"])
def test_weights_sum_to_one_over_the_tokens_that_count(shrunk, name: str) -> None:
    a, x = tokens(A_COUNTS, 1), tokens(X_COUNTS, 2)
    fused = made(shrunk, name)([a], [x])
    for weights, side in ((fused.a_weights, a), (fused.x_weights, x)):
        torch.testing.assert_close(weights[0].sum(1), torch.ones(3))
        assert not weights[0][~side.mask].any()
        assert (weights[0] >= 0).all()


@pytest.mark.parametrize("name", ["concat", "sum", "gate", "hierarchical_gate"])
def test_fusions_of_means_have_no_weights_to_show(shrunk, name: str) -> None:
    fused = made(shrunk, name)([tokens(A_COUNTS, 1)], [tokens(X_COUNTS, 2)])
    assert fused.a_weights == fused.x_weights == []
