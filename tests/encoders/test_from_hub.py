"""A pretrained encoder from the hub to a prediction, by the commands that a user runs: encode, train, export, predict."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fixtures.server import Served, serving

from ser.encoders.table import row
from ser.signal.clips import read_table
from ser.training.inference import predict
from tests.encoders import tiny
from tests.pipeline import Project

FAMILIES = [
    ("whisper-tiny", "whisper"),
    ("wav2vec2-base", "wav2vec2"),
    pytest.param("hubert-large", "hubert large", marks=pytest.mark.slow),
    pytest.param("wavlm-base-plus", "wavlm", marks=pytest.mark.slow),
    pytest.param("data2vec-audio-base", "data2vec-audio", marks=pytest.mark.slow),
]

STAGES = """
import dataclasses, runpy, sys
from ser.encoders import weights
known = weights.row
weights.row = lambda name: dataclasses.replace(known(name), sha256="")  # the weights are random, so the published checksum cannot hold
for stage in sys.argv[1:]:
    sys.argv = [stage, "--dataset", "demo"]
    runpy.run_module(f"stages.{stage}", run_name="__main__")
"""
"""The commands ``python -m stages.<name> --dataset demo`` one after the other, in one process: torch is slow to import."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Thirty-six clips of six synthetic voices, up to their folds."""
    made = Project(tmp_path_factory.mktemp("hub") / "project")
    made.set({"corpora.demo.source.sentences": 1})
    made.run("python", "-c", STAGES, "download", "preprocess", "split", "features")
    return made


def through(project: Project, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """encode, train and export with this encoder; what they said."""
    encoder = {"name": name, "layers": [1, 2], "silence_seconds": 0.5, "path": None}
    project.set({"features.encoder": encoder, "model.kind": "linear"})
    return project.run("python", "-c", STAGES, "encode", "train", "export", NO_PROXY="*", **environment)


def agree(project: Project) -> None:
    """``ser predict`` gives the probabilities that the pipeline has of the same clips."""
    data = project.folder / "data"
    table = read_table(data / "clips/demo")
    heard = table["clip"][:: len(table) // 4].tolist()
    with zipfile.ZipFile(data / "raw/demo/demo.zip") as archive:
        recordings = [Path(archive.extract(clip, project.folder / "recordings")) for clip in heard]
    command = ("python", "-m", "ser.serving.cli", "predict", *map(str, recordings), "--json", "--bundle", "exports/demo")
    said = json.loads(project.run(*command).stdout)["predictions"]
    folds = pd.read_csv(data / "folds/demo.csv")["fold"].unique()
    every = pd.concat([pd.DataFrame({"clip": table["clip"], "fold": fold, "part": "test"}) for fold in folds])
    found = predict(project.folder / "models/demo", data / "features/demo", table, every, torch.device("cpu"), data / "encoded/demo")
    columns = [name for name in found.columns if name.startswith("p_")]
    means = found.groupby("clip")[columns].mean()
    predicted = np.array([[one["probabilities"][name.removeprefix("p_")] for name in columns] for one in said])
    np.testing.assert_allclose(predicted, means.loc[heard].to_numpy(), atol=1e-3)
    assert means.std().max() > 0.02  # clips differ, so there was something to agree on


@pytest.mark.parametrize(("name", "kind"), FAMILIES)
def test_a_tiny_encoder_of_each_family_goes_from_the_hub_to_a_prediction(project: Project, tmp_path: Path, name: str, kind: str) -> None:
    pytest.importorskip("transformers", reason="transformers, an optional package, is not installed")
    known = row(name)
    if kind == "whisper":
        tiny.whisper(tmp_path, dtype=torch.float16)
    else:
        tiny.waveform(tmp_path, kind)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    digest, commit = hashlib.sha256(files["model.safetensors"]).hexdigest(), known.commit or "a" * 40
    entries = [{"rfilename": one} | ({"lfs": {"sha256": digest}} if one == "model.safetensors" else {}) for one in files]
    with serving() as hub:
        listing = f"/api/models/{known.repository}/revision/{known.commit or 'main'}?blobs=true"
        hub.files[listing] = Served(json.dumps({"sha": commit, "siblings": entries}).encode(), kind="application/json")
        hub.files |= {f"/{known.repository}/resolve/{commit}/{one}": Served(data, kind="text/plain") for one, data in files.items()}
        said = through(project, name, HF_ENDPOINT=hub.address)
    assert f"licence: {known.terms}" in said.stderr
    assert f"commit {commit}, sha256 {digest}" in said.stderr
    facts = json.loads((project.folder / "exports/demo/bundle.json").read_text())["encoder"]
    assert (facts["family"], facts["weights_sha256"], facts["commercial"]) == (known.family, digest, known.commercial)
    agree(project)


@pytest.mark.parametrize("name", ["whisper-tiny.en", "whisper-base"])
@pytest.mark.slow
def test_the_real_encoders_do_so_from_a_mirror(project: Project, name: str) -> None:
    if not (tiny.REAL / name / "model.safetensors").exists():
        pytest.skip(f"the real {name} is not on this machine")
    said = through(project, name, SER_MIRROR=str(tiny.REAL.parent), HF_ENDPOINT="http://127.0.0.1:9")
    assert "mirror's own edition" in said.stderr
    agree(project)
