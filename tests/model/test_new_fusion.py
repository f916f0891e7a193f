"""A new fusion is one new module: the schema takes its name, the stages train and export it, the list and the picture show it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import load_file

from tests.made import ROOT
from tests.search.made_search import project

TOY = '''
"""The sides multiplied."""

from __future__ import annotations

from torch import nn

from ser.model.branches import Tokens
from ser.model.fusion import Fused, Fusion, Widths, common_width
from ser.params.model import Model


class Product(Fusion):
    """z = W (a ⊙ x): bilinear pooling with a diagonal, the smallest fusion in which each side scales the other."""

    formula = "z = W (a ⊙ x)"
    pooled = True

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__(params, values, levels)
        self.width = common_width(params)
        self.mix = nn.Linear(self.pool.width(self.width), self.width, bias=False)

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z (B, d)."""
        return Fused(self.mix(self.pool.evenly(a[-1]) * self.pool.evenly(x[-1])), [], [])
'''


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the copy; its own ``ser`` comes first on the path."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "SER_CACHE_DIR": str(folder / "cache"), "SER_WORKERS": "1", "SER_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def choose(folder: Path, **model: object) -> None:
    yaml = YAML()
    values = yaml.load(folder / "params.yaml")
    values["model"].update(model)
    yaml.dump(values, folder / "params.yaml")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The made corpus and the library, without the tests."""
    project(tmp_path, epochs=1)
    clips = tmp_path / "data/clips/demo"  # export measures the training clips
    table = pd.read_csv(clips / "clips.csv", keep_default_na=False)
    table["samples"], table["offset"] = 1600, 1600 * np.arange(len(table))
    table.to_csv(clips / "clips.csv", index=False)
    np.save(clips / "audio.npy", np.random.default_rng(0).integers(-3000, 3000, 1600 * len(table)).astype(np.int16))
    for name in ("ser", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.slow
def test_one_module_is_all_it_takes(copied: Path) -> None:
    choose(copied, fusion="toy_product")
    refused = run(copied, "stages.train", "--dataset", "demo")
    assert refused.returncode == 1
    assert "model.fusion: found 'toy_product' (text); allowed: alternating_coattention | " in refused.stderr

    (copied / "ser/model/fusions/toy_product.py").write_text(TOY, encoding="utf-8")
    trained = run(copied, "stages.train", "--dataset", "demo")
    assert trained.returncode == 0, trained.stderr
    assert load_file(copied / "models/demo/fold1-seed0.safetensors")["fusion.mix.weight"].shape == (16, 32)
    exported = run(copied, "stages.export", "--dataset", "demo")
    assert exported.returncode == 0, exported.stderr
    assert (copied / "exports/demo/model.onnx").exists()

    drawn = run(copied, "ser.diagram", "--picture", "network.svg")
    assert drawn.returncode == 0, drawn.stderr
    assert "fusion toy_product.\n\n    z = W (a ⊙ x)\n" in drawn.stdout
    assert "| fusion Product " in drawn.stdout


def test_what_a_module_says_of_itself_is_held_against_the_parameters(copied: Path) -> None:
    (copied / "ser/model/fusions/toy_product.py").write_text(TOY.replace("    pooled = True\n", ""), encoding="utf-8")
    values = YAML(typ="safe", pure=True).load(copied / "params.yaml")
    choose(copied, fusion="toy_product", cnn={**values["model"]["cnn"], "segments": 2})
    refused = run(copied, "stages.train", "--dataset", "demo")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: model.cnn.segments: toy_product attends over time and needs null; a number is for concat, ")
    assert not (copied / "models/demo").exists()


def test_a_module_without_a_fusion_is_named(copied: Path) -> None:
    (copied / "ser/model/fusions/toy_product.py").write_text("class Product:\n    pass\n", encoding="utf-8")
    choose(copied, fusion="toy_product")
    refused = run(copied, "stages.train", "--dataset", "demo")
    assert refused.returncode == 1
    assert "toy_product.py must define exactly one subclass of Fusion; found 0" in refused.stderr
    assert "Traceback" not in refused.stderr
