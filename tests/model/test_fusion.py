"""Each fusion against its equation, written again in numpy for one clip without padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ser import SerError
from ser.model import fusion
from ser.model.branches import Tokens, token_mask
from ser.model.fusion import Fusion
from ser.model.listing import main as list_fusions
from ser.model.weighing import Pool
from ser.params.model import FUSIONS

D, OWN = 6, (4, 5)
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


def mean(m: np.ndarray, p: np.ndarray | None = None) -> np.ndarray:
    return np.average(m, axis=0, weights=p)


def mean_std(m: np.ndarray, p: np.ndarray | None = None) -> np.ndarray:
    centre = np.average(m, axis=0, weights=p)
    return np.concatenate([centre, np.sqrt(np.average((m - centre) ** 2, axis=0, weights=p) + 1e-5)])


Pooling = Callable[..., np.ndarray]


@dataclass
class Clip:
    """Tokens of one clip: in width d and in their branches' own widths."""

    a: np.ndarray
    x: np.ndarray
    v_a: np.ndarray
    v_x: np.ndarray


def concat(w: Weights, clip: Clip, pool: Pooling) -> np.ndarray:
    return np.concatenate([pool(clip.v_a), pool(clip.v_x)])


def weighted_sum(w: Weights, clip: Clip, pool: Pooling) -> np.ndarray:
    return w["a.weight"] @ pool(clip.v_a) + w["a.bias"] + w["x.weight"] @ pool(clip.v_x)


def gate(w: Weights, clip: Clip, pool: Pooling) -> np.ndarray:
    total = pool(clip.a) + pool(clip.x)
    return sigmoid(total) * total


def hierarchical_gate(w: Weights, clip: Clip, pool: Pooling, op: str) -> np.ndarray:
    u = v = pool(clip.a) / 2  # level 1 depends on u + v alone
    c = sigmoid(u + v) * u + sigmoid(u + v) * v
    big_c = w["c.weight"] @ c + w["c.bias"]
    big_t = w["t.weight"] @ pool(clip.x) + w["t.bias"]
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


def parallel(w: Weights, clip: Clip, pool: Pooling) -> np.ndarray:
    p_a, p_x = affinity_attention(w, "attend.", clip.a, clip.x)
    return np.concatenate([pool(clip.v_a, p_a), pool(clip.v_x, p_x)])


def look(w: Weights, name: str, m: np.ndarray, g: np.ndarray | None) -> np.ndarray:
    guide = 0 if g is None else w[f"{name}.g.weight"] @ g
    h = np.stack([np.tanh(w[f"{name}.m.weight"] @ row + guide) for row in m])
    return softmax(h @ w[f"{name}.score.weight"][0])


def alternating(w: Weights, clip: Clip, pool: Pooling) -> np.ndarray:
    summary = look(w, "summary", clip.a, None) @ clip.a
    p_x = look(w, "look_x", clip.x, summary)
    p_a = look(w, "look_a", clip.a, p_x @ clip.x)
    return np.concatenate([pool(clip.v_a, p_a), pool(clip.v_x, p_x)])


def hierarchical(w: Weights, levels: list[tuple[np.ndarray, np.ndarray]], pool: Pooling) -> np.ndarray:
    h: np.ndarray | None = None
    for k, (a, x) in enumerate(levels):
        p_a, p_x = affinity_attention(w, f"attend.{k}.", a, x)
        seen = pool(a, p_a) + pool(x, p_x)
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
    return layer_norm(seen + hidden @ w[f"{name}.ffn.2.weight"].T + w[f"{name}.ffn.2.bias"], w, f"{name}.norm_ffn")


def cross(w: Weights, clip: Clip, pool: Pooling, heads: int) -> np.ndarray:
    return np.concatenate([pool(cross_side(w, "a", clip.a, clip.x, heads)), pool(cross_side(w, "x", clip.x, clip.a, heads))])


def tokens(counts: list[int], seed: int, width: int = D) -> Tokens:
    mask = token_mask(torch.tensor(counts), 1, max(counts) + 2)
    values = torch.randn(len(counts), max(counts) + 2, width, generator=torch.Generator().manual_seed(seed))
    return Tokens(values * mask[..., None], mask)


def both() -> tuple[Tokens, Tokens, tuple[Tokens, Tokens]]:
    """A, X and (V_a, V_x) of three clips."""
    return tokens(A_COUNTS, 1), tokens(X_COUNTS, 2), (tokens(A_COUNTS, 3, OWN[0]), tokens(X_COUNTS, 4, OWN[1]))


def made(shrunk, name: str, levels: int = 1, **changes) -> Fusion:
    torch.manual_seed(0)
    built = fusion.load(name)(shrunk(fusion=name, dim=D, heads=2, **changes), OWN, levels)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # all parts of the formula matter, biases too
    return built


EQUATIONS: list[tuple[str, dict, Callable[..., np.ndarray]]] = [
    ("concat", {}, concat),
    ("sum", {}, weighted_sum),
    ("gate", {}, gate),
    ("hierarchical_gate", {"gate_op": "mul"}, lambda w, clip, pool: hierarchical_gate(w, clip, pool, "mul")),
    ("hierarchical_gate", {"gate_op": "add"}, lambda w, clip, pool: hierarchical_gate(w, clip, pool, "add")),
    ("parallel_coattention", {}, parallel),
    ("alternating_coattention", {}, alternating),
    ("hierarchical_coattention", {}, lambda w, clip, pool: hierarchical(w, [(clip.a, clip.x)], pool)),
    ("cross_attention", {}, lambda w, clip, pool: cross(w, clip, pool, heads=2)),
]


@pytest.mark.parametrize("pool", [mean, mean_std])
@pytest.mark.parametrize(("name", "changes", "equation"), EQUATIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_fusion_equals_its_equation(shrunk, name: str, changes: dict, equation: Callable[..., np.ndarray], pool: Pooling) -> None:
    built = made(shrunk, name, statistics=pool.__name__, **changes)
    a, x, values = both()
    z = built([a], [x], values).z.detach().numpy()
    weights = {key: value.numpy().astype(np.float64) for key, value in built.state_dict().items()}
    assert z.shape == (3, built.width)
    for clip, (n_a, n_x) in enumerate(zip(A_COUNTS, X_COUNTS, strict=True)):
        sides = [side.values[clip, :n].double().numpy() for side, n in ((a, n_a), (x, n_x), (values[0], n_a), (values[1], n_x))]
        expected = equation(weights, Clip(*sides), pool)
        np.testing.assert_allclose(z[clip], expected, atol=2e-5)


def test_pool_leaves_padding_out(shrunk) -> None:
    clips = Tokens(torch.tensor([[[1.0], [3.0], [0.0]], [[5.0], [0.0], [0.0]]]), torch.tensor([[True, True, False], [True, False, False]]))
    expected = torch.tensor([[2.0, 1.0], [5.0, 0.0]])
    torch.testing.assert_close(Pool(shrunk(statistics="mean_std")).evenly(clips), expected, atol=4e-3, rtol=0)
    torch.testing.assert_close(Pool(shrunk(statistics="mean")).evenly(clips), expected[:, :1])


def test_every_fusion_is_held_to_an_equation() -> None:
    assert {name for name, _, _ in EQUATIONS} == set(FUSIONS.names())


def test_hierarchical_coattention_over_three_depths(shrunk) -> None:
    built = made(shrunk, "hierarchical_coattention", levels=3, statistics="mean")
    a = [tokens([8, 3], 1), tokens([4, 2], 2), tokens([2, 1], 3)]
    x = [tokens([5, 5], 4), tokens([5, 5], 5), tokens([5, 5], 6)]
    z = built(a, x, (a[-1], x[-1])).z.detach().numpy()
    weights = {key: value.numpy().astype(np.float64) for key, value in built.state_dict().items()}
    for clip in range(2):
        levels = [
            (m.values[clip][m.mask[clip]].double().numpy(), n.values[clip][n.mask[clip]].double().numpy())
            for m, n in zip(a, x, strict=True)
        ]
        np.testing.assert_allclose(z[clip], hierarchical(weights, levels, mean), atol=2e-5)


def test_hierarchical_gate_on_numbers_worked_by_hand(shrunk) -> None:
    built = fusion.load("hierarchical_gate")(shrunk(fusion="hierarchical_gate", statistics="mean", dim=4), (4, 4), 1)
    for name, value in {"c.weight": 2 / 4, "c.bias": 0.5, "t.weight": -1 / 4, "t.bias": 1.0}.items():
        built.state_dict()[name].fill_(value)
    one = torch.ones(1, 1, dtype=torch.bool)
    a, x = Tokens(torch.full((1, 1, 4), 1.0), one), Tokens(torch.full((1, 1, 4), 3.0), one)
    z = built([a], [x], (a, x)).z
    # c = σ(1)·1 = 0.731059; C = 2c + 0.5 = 1.962117; T = −3 + 1 = −2; α = σ(C·T) = σ(−3.924234) = 0.0193748; z = α (C + T)
    assert z[0].tolist() == pytest.approx([0.0193748 * (1.962117 - 2.0)] * 4, abs=1e-7)


@pytest.mark.parametrize("name", ["parallel_coattention", "alternating_coattention", "hierarchical_coattention", "cross_attention"])
def test_weights_sum_to_one_over_the_tokens_that_count(shrunk, name: str) -> None:
    a, x, values = both()
    fused = made(shrunk, name)([a], [x], values)
    for weights, side in ((fused.a_weights, a), (fused.x_weights, x)):
        torch.testing.assert_close(weights[0].sum(1), torch.ones(3))
        assert not weights[0][~side.mask].any()
        assert (weights[0] >= 0).all()


@pytest.mark.parametrize("name", ["concat", "sum", "gate", "hierarchical_gate"])
def test_fusions_of_means_have_no_weights_to_show(shrunk, name: str) -> None:
    a, x, values = both()
    fused = made(shrunk, name)([a], [x], values)
    assert fused.a_weights == fused.x_weights == []


POOLED = {"concat", "sum", "gate", "hierarchical_gate"}


def test_what_the_published_fusions_say_of_themselves() -> None:
    attending = ("parallel_coattention", "alternating_coattention", "hierarchical_coattention", "cross_attention")
    classes = {name: fusion.load(name) for name in (*POOLED, *attending)}
    assert {name for name, one in classes.items() if one.pooled} == POOLED
    assert {name for name, one in classes.items() if one.own_width} == {"concat", "sum"}
    assert {name for name, one in classes.items() if not one.needs_dim} == {"concat"}
    assert {name for name, one in classes.items() if one.every_depth} == {"hierarchical_coattention"}


@pytest.mark.parametrize("name", FUSIONS.names())
def test_a_formula_fits_its_box(name: str) -> None:
    lines = fusion.load(name).formula.splitlines()
    assert 1 <= len(lines) <= 3
    assert max(map(len, lines)) <= 45


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "gate", "dim": None}, "model.dim: null is for fusion concat only; gate needs a common width"),
        ({"fusion": "cross_attention", "heads": 5}, "model.dim 12 must be a multiple of model.heads 5 for cross_attention"),
        (
            {"fusion": "cross_attention", "cnn__segments": 8},
            "model.cnn.segments: cross_attention attends over time and needs null; a number is for "
            + ", ".join(name for name in FUSIONS.names() if fusion.load(name).pooled),
        ),
    ],
)
def test_parameters_a_fusion_cannot_work_with_are_refused_by_name(shrunk, changes: dict, message: str) -> None:
    params = shrunk(**changes)
    with pytest.raises(SerError) as caught:
        fusion.load(params.fusion).check(params)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "changes", [{"fusion": "concat", "dim": None}, {"fusion": "gate", "cnn__segments": 8}, {"fusion": "cross_attention", "heads": 4}]
)
def test_parameters_a_fusion_can_work_with(shrunk, changes: dict) -> None:
    params = shrunk(**changes)
    fusion.load(params.fusion).check(params)


def test_a_name_that_is_no_module_is_never_imported() -> None:
    with pytest.raises(SerError, match=r"no fusion 'os\.path'; known: alternating_coattention, concat"):
        fusion.load("os.path")


def test_the_list_of_fusions(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["fusions"])
    list_fusions()
    assert "gate\n    z = σ(a + x) ⊙ (a + x)\n" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["fusions", "--names"])
    list_fusions()
    assert set(capsys.readouterr().out.strip().split(",")) >= POOLED
