"""The branch over hidden states: tokens from frames, all fusions, padding, layer weights, a regression inside the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures.network import CLASSES, WIDTHS

from ser import SerError
from ser.model.encoder_branch import EncoderInput, TokenRate
from ser.model.linear import Linear
from ser.model.network import Network, drop_sides
from ser.params.model import FUSIONS

LAYERS, WIDTH = 3, 10
BRANCHES = ["log_mel_cnn", "mfcc_cnn", "encoder"]
RATES = [TokenRate(1, 1), TokenRate(2, 3), TokenRate(5, 2)]


def states(lengths: list[int], rate: TokenRate, padding: int = 0, seed: int = 3) -> torch.Tensor:
    """Hidden states of clips of so many frames; padding holds noise."""
    counts = rate.tokens(torch.tensor(lengths)).tolist()
    found = 50 * torch.randn(
        len(lengths), max(counts) + padding, LAYERS, WIDTH, generator=torch.Generator().manual_seed(seed + 1000 + padding)
    )
    for row, count in enumerate(counts):
        found[row, :count] = torch.randn(count, LAYERS, WIDTH, generator=torch.Generator().manual_seed(seed + row)) * 20 + 100
    return found


def make(shrunk, rate: TokenRate = RATES[0], warm_start: bool = False, **changes) -> Network:
    torch.manual_seed(0)
    network = Network(shrunk(**{"branches": BRANCHES, **changes}), WIDTHS, CLASSES, EncoderInput(LAYERS, WIDTH, rate), warm_start)
    statistics = {view: (torch.randn(width), torch.rand(width) + 0.5) for view, width in WIDTHS.items()}
    statistics["encoder"] = (torch.full((LAYERS, WIDTH), 100.0), torch.rand(LAYERS, WIDTH) * 10 + 20)
    network.set_statistics(statistics)
    return network


@pytest.mark.parametrize(
    ("hop", "rate", "expected"), [(320, 16000, (1, 1)), (256, 16000, (4, 5)), (512, 48000, (8, 15)), (160, 11025, (320, 441))]
)
def test_rate_is_hop_over_token_hop(hop, rate, expected):
    assert (TokenRate.of(hop, 50.0, rate).numerator, TokenRate.of(hop, 50.0, rate).denominator) == expected


@pytest.mark.parametrize("rate", RATES)
def test_tokens_of_frames_and_of_windows(rate):
    frames = torch.arange(1, 200)
    share = rate.numerator / rate.denominator
    assert rate.tokens(frames).tolist() == np.maximum(1, np.ceil(np.round((frames.numpy() - 1) * share, 9))).astype(int).tolist()
    for whole in (7, 50):  # a window never reaches beyond the tokens of its clip
        for first in range(whole):
            for length in range(1, whole - first + 1):
                end = rate.before(torch.tensor([first])) + rate.tokens(torch.tensor([length]))
                assert end <= rate.tokens(torch.tensor([whole])) or length == 1


@pytest.mark.parametrize("fusion", FUSIONS.names())
@pytest.mark.parametrize("rate", RATES[:2])
def test_every_fusion_learns_from_both_sides(shrunk, batch, fusion, rate):
    network = make(shrunk, rate, fusion=fusion, encoder__dropout=0.0, dropout=0.0, cnn__dropout=0.0)
    views, lengths = batch([40, 23])
    views["encoder"] = states([40, 23], rate)
    network(views, lengths).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
    assert network.get_parameter("sides.encoder.weights").grad.abs().sum() > 0
    assert list(network.sides)[-1] == "encoder"


@pytest.mark.parametrize("fusion", FUSIONS.names())
@pytest.mark.parametrize("layers", [0, 1])
def test_padding_changes_nothing(shrunk, batch, fusion, layers):
    network = make(shrunk, RATES[1], fusion=fusion, encoder__layers=layers, encoder__dim=8, encoder__heads=2, encoder__ffn=8).eval()
    views, lengths = batch([40, 23])
    padded, _ = batch([40, 23], padding=9)
    views["encoder"], padded["encoder"] = states([40, 23], RATES[1]), states([40, 23], RATES[1], padding=5)
    with torch.no_grad():
        together = network(views, lengths)
        torch.testing.assert_close(network(padded, lengths), together, atol=1e-4, rtol=1e-4)
        alone, length = batch([23], seed=1)
        alone = {name: values[1:, : length[0]] for name, values in views.items() if name != "encoder"}
        alone["encoder"] = views["encoder"][1:, : int(RATES[1].tokens(length))]
        torch.testing.assert_close(network(alone, length), together[1:], atol=1e-4, rtol=1e-4)


def test_alone_it_is_pooled_like_any_branch(shrunk, batch):
    network = make(shrunk, branches=["encoder"]).eval()
    views, lengths = batch([12, 9])
    views["encoder"] = states([12, 9], RATES[0])
    x = (views["encoder"][1, :8] - network.mean("encoder")) / network.scale("encoder")
    x = torch.nn.functional.layer_norm(x, (WIDTH,)).mean(1)  # equal shares of the layers at the start
    z = torch.cat([x.mean(0), (x.var(0, correction=0) + 1e-5).sqrt()])
    torch.testing.assert_close(network(views, lengths)[1], network.classifier(z), atol=1e-4, rtol=1e-4)


def test_attention_over_frames_sums_to_one(shrunk, batch):
    for rate in RATES:
        network = make(shrunk, rate, fusion="parallel_coattention").eval()
        views, lengths = batch([40, 23])
        views["encoder"] = states([40, 23], rate)
        seen = network.attention(views, lengths)
        assert list(seen) == ["cnn", "encoder"]
        torch.testing.assert_close(seen["encoder"].sum(1), torch.ones(2))
        assert seen["encoder"][1, 23:].abs().sum() == 0


def test_what_does_not_go_together_is_refused(shrunk):
    with pytest.raises(ValueError, match="a fusion joins the CNNs with either transformer or encoder"):
        shrunk(branches=["transformer", "encoder"])
    with pytest.raises(SerError, match=r"features\.encoder"):
        Network(shrunk(branches=BRANCHES), WIDTHS, CLASSES)
    with pytest.raises(SerError, match=r"model\.encoder\.heads"):
        make(shrunk, encoder__layers=1, encoder__heads=3)


def test_a_warm_start_is_the_regression_to_the_last_bits(shrunk, batch):
    network = make(shrunk, warm_start=True, fusion="parallel_coattention").eval()
    fitted = Linear(2 * WIDTH, CLASSES)
    fitted.columns.copy_(torch.arange(2 * WIDTH, 4 * WIDTH))
    for name in ("centre", "weight", "bias"):
        fitted.get_buffer(name).normal_()
    network.set_linear(fitted)
    views, lengths = batch([40, 23])
    views["encoder"] = states([40, 23], RATES[0], padding=4)
    expected = fitted.decisions(network.pooled_states(views, lengths)).softmax(1)
    torch.testing.assert_close(network(views, lengths).softmax(1), expected, atol=1e-5, rtol=0)
    assert not any(name.startswith("linear") for name, _ in network.named_parameters()), "it stays frozen"
    network(views, lengths).square().sum().backward()
    assert network.classifier.weight.grad.abs().sum() > 0, "and the network learns beside it"


def test_side_dropout_drops_one_side_or_none_and_keeps_the_mean():
    from ser.model.branches import Tokens

    tokens = Tokens(torch.ones(4000, 2, 3), torch.ones(4000, 2, dtype=torch.bool))
    torch.manual_seed(0)
    (a, x), values = drop_sides([[tokens], [tokens]], (tokens, tokens), 0.4)
    for side, value in ((a, values[0]), (x, values[1])):
        torch.testing.assert_close(side[0].values, value.values)
        dropped = (side[0].values == 0).all(2).all(1)
        assert abs(dropped.float().mean() - 0.2) < 0.02
        assert abs(side[0].values.mean() - 1) < 0.02
    assert not ((a[0].values == 0) & (x[0].values == 0)).any()
