from __future__ import annotations

import copy

import pytest
from fixtures.network import ROOT
from ruamel.yaml import YAML

from ser.params import ParamsError, parse


def changed(changes: dict) -> dict:
    values = copy.deepcopy(YAML(typ="safe", pure=True).load(ROOT / "params.yaml"))
    for key, value in changes.items():
        *sections, last = key.split(".")
        inner = values["model"]
        for section in sections:
            inner = inner[section]
        inner[last] = value
    return values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"branches": ["transformer", "transformer"]}, "model.branches: a branch is named twice"),
        ({"branches": []}, "model.branches.*at least 1 entries"),
        (
            {"fusion": "attention"},
            r"found 'attention' \(text\); allowed: alternating_coattention \| .*concat \| .*Transformer",
        ),
        ({"fusion": "__init__"}, "model.fusion: found '__init__'"),
        ({"fusion": 3}, r"model.fusion: found 3 \(whole number\); allowed: alternating_coattention"),
        ({"transformer.heads": 3}, "transformer.dim 128 must be a multiple of transformer.heads 3"),
        ({"transformer.dim": None}, "transformer.pooling stack needs transformer.dim"),
        ({"cnn.channels": [16, 32]}, "model.cnn: channels, stride_bins, .*must have one entry per stage; they have 2, 4, 4, 4, 4"),
        ({"cnn.pool_time": [2, 0, 2, 2]}, r"pool_time: found \[2, 0, 2, 2\]; allowed: whole numbers from 1"),
        ({"cnn.dropout": 1.0}, "model.cnn.dropout: found 1.0.*< 1"),
        ({"cnn.depth": 4}, "model.cnn.depth: unknown key"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(changes: dict, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        parse(changed(changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"fusion": "concat", "dim": None},
        {"fusion": "gate", "cnn.segments": 8},
        {"transformer.dim": None, "transformer.pooling": "max"},
        {"branches": ["mfcc_cnn"]},
    ],
)
def test_parameters_that_fit(changes: dict) -> None:
    parse(changed(changes))
