from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from fixtures.network import ROOT
from ruamel.yaml import YAML

from ser.diagram.built import build as network_of
from ser.diagram.command import main
from ser.diagram.picture import draw
from ser.diagram.summary import madds, summary, table
from ser.model.encoder_branch import TokenRate
from ser.params import parse
from ser.params.model import FUSIONS
from stages import preset


def test_parts_add_up_to_the_network(build) -> None:
    for changes in (
        {},
        {"branches": ["mfcc_cnn"], "cnn__blocks": 2},
        {"branches": ["transformer"]},
        {"fusion": "hierarchical_coattention"},
    ):
        network = build(**changes)
        *parts, total = summary(network, 30)
        assert total.name == "network"
        assert sum(part.parameters for part in parts) == total.parameters == sum(p.numel() for p in network.parameters())
        assert sum(part.madds for part in parts) == pytest.approx(total.madds, rel=0.02)  # means are matrix products outside the parts
        assert len({part.name for part in parts}) == len(parts)


def test_multiply_adds_by_hand(build) -> None:
    network = build(branches=["log_mel_cnn"], cnn__channels=[4], **{f"cnn__{name}": [1] for name in ("stride_bins", "stride_time")},
                    cnn__pool_bins=[2], cnn__pool_time=[2])  # fmt: skip
    *parts, total = summary(network, 15)
    assert parts[0].name == "log_mel CNN, stage 1"
    assert parts[0].shape == (4, 8, 10)
    assert parts[0].madds == 16 * 20 * 4 * 9  # 15 frames and one of padding, 20 bands, 4 channels, 3×3
    assert parts[1].madds == 2 * 8 * 4 * 10  # mean and mean square over 8 steps
    assert parts[2].madds == 2 * 4 * 10 * 5  # mean and standard deviation
    assert total.madds == sum(part.madds for part in parts)


def test_attention_products_are_counted(build) -> None:
    network = build(branches=["transformer"], transformer__layers=1, transformer__pool_time=1)
    layer = {part.name: part for part in summary(network, 30)[:-1]}["transformer, layer 1"]
    linear = 30 * (8 * 24 + 8 * 8 + 2 * 8 * 10)
    assert layer.madds == linear + 2 * 30 * 30 * 8


def test_counting_leaves_the_network_as_it_was(build) -> None:
    network = build().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    summary(network, 10)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not network.classifier._forward_hooks


def test_madds_of_a_plain_layer() -> None:
    assert madds(torch.nn.Linear(3, 4), torch.zeros(5, 3))["Global"] == 60


def test_table_is_markdown(build) -> None:
    lines = table(summary(build(), 20)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].startswith("| part")
    assert lines[-1].startswith("| network")


@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_picture_of_every_fusion_is_the_same_twice(build, shrunk, tmp_path, fusion: str) -> None:
    changes = {"fusion": fusion} | ({"cnn__segments": 2, "cnn__blocks": 2} if "attention" not in fusion else {})
    network, parts = build(**changes), summary(build(**changes), 20)
    for name in ("one.svg", "two.svg"):
        draw(network, shrunk(**changes), parts, tmp_path / "made" / name)
    drawn = (tmp_path / "made" / "one.svg").read_bytes()
    assert drawn == (tmp_path / "made" / "two.svg").read_bytes()
    assert drawn.startswith(b"<?xml")


@pytest.mark.parametrize("branches", [["log_mel_cnn", "mfcc_cnn"], ["transformer"], ["mfcc_cnn", "transformer"]])
def test_picture_of_fewer_branches(build, shrunk, tmp_path, branches: list[str]) -> None:
    network = build(branches=branches)
    draw(network, shrunk(branches=branches), summary(network, 20), tmp_path / "network.png")
    assert (tmp_path / "network.png").read_bytes().startswith(b"\x89PNG")


def test_command_prints_and_draws(tmp_path) -> None:
    picture = tmp_path / "network.svg"
    command = [sys.executable, "-m", "ser.diagram", "--seconds", "2", "--classes", "4", "--picture", str(picture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "One clip of 2 s, 101 frames" in done.stdout
    assert "| network " in done.stdout
    assert picture.exists()


def test_command_names_a_picture_it_cannot_draw(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["ser.diagram", "--classes", "4", "--picture", str(tmp_path / "network.xyz")])
    with pytest.raises(SystemExit, match=r"network\.xyz: the name needs an ending"):
        main()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seconds", "nan"], "--seconds nan: allowed are"),
        (["--seconds", "inf"], "--seconds inf: allowed are"),
        (["--seconds", "1e6"], r"--seconds 1e\+06: allowed are"),
        (["--seconds", "-1"], "--seconds -1: allowed are"),
        (["--seconds", "1e-9"], "a clip needs at least one frame"),
        (["--classes", "0"], "--classes 0: allowed are"),
        (["--classes", "-1"], "--classes -1: allowed are"),
        (["--classes", "100000000000"], "--classes 100000000000: allowed are"),
        (["--picture", "network"], "network: the name needs an ending"),
        (["--picture", ""], "the name needs an ending"),
        (["--picture", "params.yaml/x.svg"], r"params\.yaml: File exists \("),
        (["--picture", "stages.svg"], r"stages\.svg: Is a directory \("),
    ],
)
def test_command_refuses_in_words(tmp_path, monkeypatch, words, message) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "stages.svg").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ser.diagram", "--seconds", "1", "--classes", "4", *words])
    with pytest.raises(SystemExit, match=rf"^error: .*{message}"):
        main()
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "stages.svg"}


def test_command_without_parameters_says_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ser.diagram"])
    with pytest.raises(SystemExit, match=r"^error: params\.yaml not found"):
        main()


def test_the_presets_with_a_frozen_encoder_are_counted_and_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    for name in ("pretrained", "encoder_only"):
        params = parse(preset.merged(values, preset.checked(name)))
        network = network_of(params)
        assert network.encoder == (3, 384, TokenRate(1, 1))
        parts = summary(network, 150)
        assert (149, 384) in [part.shape for part in parts if part.name.startswith("encoder")]
        draw(network, params.model, parts, tmp_path / f"{name}.svg")
        assert (tmp_path / f"{name}.svg").stat().st_size > 1000
