from __future__ import annotations

import itertools

import pytest
import torch
from fixtures.network import BANDS, CLASSES, COEFFICIENTS, ROOT, WIDTHS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ser.model.branches import Tokens
from ser.model.losses import loss
from ser.model.network import Network
from ser.model.weighing import Pool
from ser.params import load
from ser.params.model import FUSIONS

BRANCHES = ["log_mel_cnn", "mfcc_cnn", "transformer"]
SUBSETS = [list(subset) for size in (1, 2, 3) for subset in itertools.combinations(BRANCHES, size)]
VARIANTS = [
    {},
    {"cnn__blocks": 2},
    {"cnn__stride_time": [2, 1, 1], "cnn__stride_bins": [1, 2, 1], "cnn__activation": "silu"},
    {"transformer__view": "mfcc", "transformer__pooling": "max", "transformer__pool_time": 3},
    {"fusion": "concat", "dim": None, "cnn__segments": 3},
    {"fusion": "hierarchical_gate", "gate_op": "add", "cnn__segments": 4},
]


@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_padding_never_changes_logits(build, batch, fusion: str) -> None:
    network = build(fusion=fusion).eval()
    lengths = [37, 20, 1]
    expected = network(*batch(lengths))
    assert expected.shape == (3, CLASSES)
    for padding in (1, 3, 8, 61):
        torch.testing.assert_close(network(*batch(lengths, padding)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: "-".join(variant) or "default")
def test_padding_never_changes_logits_of_variants(build, batch, variant: dict) -> None:
    network = build(**variant).eval()
    expected = network(*batch([37, 20, 1]))
    torch.testing.assert_close(network(*batch([37, 20, 1], 29)), expected, atol=1e-5, rtol=0)


def test_padding_never_changes_a_training_step(build, batch) -> None:
    """Neither the loss nor any gradient nor the running statistics of batch norm."""
    outcomes = []
    for padding in (0, 53):
        network = build(cnn__dropout=0.0, transformer__dropout=0.0, dropout=0.0).train()
        logits = network(*batch([30, 12, 5], padding))
        logits.square().sum().backward()
        outcomes.append([logits, *(parameter.grad for parameter in network.parameters()), *network.buffers()])
    for short, long in zip(*outcomes, strict=True):
        torch.testing.assert_close(short, long, atol=1e-4, rtol=1e-4)


def test_not_even_nan_in_the_padding_is_seen(build, batch) -> None:
    network = build().eval()
    views, lengths = batch([30, 12])
    expected = network(views, lengths)
    views["log_mel"][1, 12:], views["mfcc"][1, 12:] = torch.nan, torch.inf
    torch.testing.assert_close(network(views, lengths), expected)


@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_batch_order_and_company_never_matter(build, batch, fusion: str) -> None:
    network = build(fusion=fusion).eval()
    views, lengths = batch([37, 20, 9, 4])
    expected = network(views, lengths)
    order = torch.tensor([2, 0, 3, 1])
    ordered = {view: frames[order] for view, frames in views.items()}
    torch.testing.assert_close(network(ordered, lengths[order]), expected[order], atol=1e-5, rtol=0)
    for clip, length in enumerate(lengths.tolist()):
        alone = network({view: frames[clip : clip + 1, :length] for view, frames in views.items()}, lengths[clip : clip + 1])
        torch.testing.assert_close(alone[0], expected[clip], atol=1e-5, rtol=0)


@pytest.mark.parametrize("branches", SUBSETS, ids="+".join)
@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_every_parameter_receives_a_gradient(build, batch, fusion: str, branches: list[str]) -> None:
    network = build(fusion=fusion, branches=branches, dropout=0.0, cnn__dropout=0.0).train()
    logits = network(*batch([40, 33, 26]))
    loss(logits, torch.tensor([0, 1, 4]), load(ROOT / "params.yaml").train).backward()
    dead = [name for name, parameter in network.named_parameters() if parameter.grad is None or parameter.grad.abs().max() < 1e-12]
    assert dead == []


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_a_single_branch_has_nothing_to_fuse(build, fusion: str, branch: str) -> None:
    network = build(fusion=fusion, branches=[branch])
    assert network.fusion is None
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"sides", "classifier"}
    assert list(network.sides) == [branch]


def test_sides_of_the_fusion(build) -> None:
    assert list(build().sides) == ["cnn", "transformer"]
    assert list(build(branches=["transformer", "mfcc_cnn"]).sides) == ["mfcc_cnn", "transformer"]
    assert list(build(branches=["mfcc_cnn", "log_mel_cnn"]).sides) == ["log_mel_cnn", "mfcc_cnn"]


def test_with_the_transformer_off_the_first_cnn_meets_the_others(shrunk) -> None:
    branches = ["pitch_cnn", "log_mel_cnn", "mfcc_cnn"]
    widths = WIDTHS | {"pitch": 2}
    network = Network(shrunk(branches=branches), widths, CLASSES)
    assert {name: list(side.views) for name, side in network.sides.items()} == {"log_mel_cnn": ["log_mel"], "cnn": ["mfcc", "pitch"]}
    network = Network(shrunk(branches=[*branches, "transformer"]), widths, CLASSES)
    assert {name: list(side.views) for name, side in network.sides.items()} == {"cnn": list(widths), "transformer": list(widths)}


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=4), fusion=st.sampled_from(FUSIONS.names()), training=st.booleans())
def test_any_lengths_run(lengths: list[int], fusion: str, training: bool) -> None:
    torch.manual_seed(0)
    params = load(ROOT / "params.yaml").model
    model = params.model_copy(update={"fusion": fusion, "dim": 8, "heads": 2})
    network = Network(model, WIDTHS, CLASSES).train(training)
    count, longest = len(lengths), max(lengths)
    logits = network({view: torch.randn(count, longest, width) for view, width in WIDTHS.items()}, torch.tensor(lengths))
    assert logits.shape == (count, CLASSES)
    assert torch.isfinite(logits).all()
    logits.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_every_length_from_1_to_50_runs(build, batch) -> None:
    for network in (build().eval(), build(fusion="concat", dim=None, cnn__segments=8).eval()):
        for length in range(1, 51):
            assert torch.isfinite(network(*batch([length]))).all(), length


def test_same_seed_same_bits(build, batch) -> None:
    outcomes = []
    for _ in range(2):
        network = build(seed=3).train()
        torch.manual_seed(5)
        logits = network(*batch([40, 17, 9]))
        logits.square().sum().backward()
        outcomes.append([logits, *(parameter.grad for parameter in network.parameters())])
    assert all(torch.equal(first, second) for first, second in zip(*outcomes, strict=True))


def test_normalisation_is_part_of_the_network(build, batch) -> None:
    network = build().eval()
    views, lengths = batch([30, 12])
    expected = network(views, lengths)
    normalised = {view: (frames - network.mean(view)) / network.scale(view) for view, frames in views.items()}
    network.set_statistics({view: (torch.zeros(width), torch.ones(width)) for view, width in WIDTHS.items()})
    torch.testing.assert_close(network(normalised, lengths), expected)
    assert {"mean_log_mel", "scale_log_mel", "mean_mfcc", "scale_mfcc"} <= set(network.state_dict())


@pytest.mark.parametrize(
    ("view", "position", "value", "message"),
    [
        ("log_mel", 0, torch.zeros(BANDS + 1), r"mean_log_mel has shape \(21,\), expected \(20,\)"),
        ("log_mel", 1, torch.zeros(BANDS), "scale_log_mel must be finite, and positive"),
        ("mfcc", 0, torch.full((COEFFICIENTS,), torch.nan), "mean_mfcc must be finite"),
        ("mfcc", 1, -torch.ones(COEFFICIENTS), "scale_mfcc must be finite, and positive"),
    ],
)
def test_statistics_that_cannot_be(build, view: str, position: int, value: torch.Tensor, message: str) -> None:
    statistics = {name: [torch.zeros(width), torch.ones(width)] for name, width in WIDTHS.items()}
    statistics[view][position] = value
    with pytest.raises(ValueError, match=message):
        build().set_statistics(statistics)


@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_attention_over_time(build, batch, fusion: str) -> None:
    network = build(fusion=fusion).eval()
    views, lengths = batch([41, 20, 3], padding=6)
    seen = network.attention(views, lengths)
    assert list(seen) == (["cnn", "transformer"] if "attention" in fusion else [])
    for weights in seen.values():
        assert weights.shape == (3, 47)
        torch.testing.assert_close(weights.sum(1), torch.ones(3))
        for clip, length in enumerate(lengths.tolist()):
            assert (weights[clip, :length] > 0).all()
            assert not weights[clip, length:].any()


def test_attention_of_a_token_is_spread_over_its_frames(build, batch) -> None:
    network = build(cnn__pool_time=[2, 2, 1], transformer__pool_time=6).eval()
    seen = network.attention(*batch([24]))
    for name, frames in (("cnn", 4), ("transformer", 6)):
        tokens = seen[name][0].unflatten(0, (-1, frames))
        assert (tokens == tokens[:, :1]).all()
        assert len(tokens[:, 0].unique()) > 1


class Operations(TorchDispatchMode):
    """Collects the names of all operations, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


# What torch's documentation of use_deterministic_algorithms lists as without a deterministic CUDA kernel, by beginning of the name.
NOT_DETERMINISTIC_ON_CUDA = (
    "_adaptive_avg_pool", "adaptive_avg_pool", "adaptive_max_pool", "avg_pool3d", "fractional_max_pool", "max_unpool", "upsample",
    "reflection_pad", "replication_pad", "nll_loss", "_ctc_loss", "_embedding_bag", "put_", "histc", "bincount", "median", "grid_sampler",
    "cumsum", "scatter_reduce", "kthvalue",
)  # fmt: skip


@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_no_operation_lacks_a_deterministic_cuda_kernel(build, batch, fusion: str) -> None:
    train = load(ROOT / "params.yaml").train
    network = build(fusion=fusion, **({"cnn__segments": 3} if "attention" not in fusion else {})).train()
    with Operations() as operations:
        loss(network(*batch([40, 17])), torch.tensor([1, 2]), train).backward()
    assert {"convolution", "max_pool2d_with_indices_backward"} <= operations.names  # the collection works
    assert not [name for name in operations.names if name.startswith(NOT_DETERMINISTIC_ON_CUDA)]


def test_channels_last_all_the_way(build, batch) -> None:
    """What the speed on a CPU rests on: a convolution that falls back to the other layout costs three times as much."""
    network = build().train()
    layouts = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _m, _i, output: layouts.append(output.is_contiguous(memory_format=torch.channels_last)))
    network(*batch([40, 17]))
    assert layouts == [True] * 6


@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_every_fusion_learns(build, batch, fusion: str) -> None:
    """Two dozen clips of different lengths whose class is where in time one band is loud."""
    train = load(ROOT / "params.yaml").train.model_copy(update={"label_smoothing": 0.0})
    network = build(fusion=fusion, dropout=0.0, cnn__dropout=0.0, transformer__dropout=0.0).train()
    views, lengths = batch(list(range(24, 48)))
    classes = torch.arange(24) % 3
    for clip, (kind, length) in enumerate(zip(classes.tolist(), lengths.tolist(), strict=True)):
        loud = slice(kind * length // 3, (kind + 1) * length // 3)
        views["log_mel"][clip, loud, 5] += 4
        views["mfcc"][clip, loud, 2] += 4
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(network(views, lengths), classes, train)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.2 * losses[0]


def test_the_deviation_of_tokens_far_from_zero_survives_bfloat16() -> None:
    """Mean 3, deviation 0.1: in bfloat16 the mean of squares less the square of the mean is noise."""
    random = torch.Generator().manual_seed(0)
    values, mask = 3 + 0.1 * torch.randn(2, 50, 4, generator=random), torch.ones(2, 50)
    pool = Pool(load(ROOT / "params.yaml").model.model_copy(update={"statistics": "mean_std"}))
    expected = torch.cat([values.mean(1), values.std(1, correction=0)], 1)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pool.evenly(Tokens(values, mask > 0))
    torch.testing.assert_close(pooled, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_bfloat16_stays_close(build, batch, training: bool) -> None:
    network = build(dropout=0.0, cnn__dropout=0.0, transformer__dropout=0.0).train(training)
    inputs = batch([40, 17, 9])
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(*inputs)
        statistics = [buffer.clone() for name, buffer in network.named_buffers() if name.endswith("running_mean")]
    logits.float().square().sum().backward()
    torch.testing.assert_close(logits.float(), network(*inputs), atol=0.05, rtol=0.05)
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    assert all(statistic.dtype == torch.float32 for statistic in statistics)
