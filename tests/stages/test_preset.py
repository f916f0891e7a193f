from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from fixtures.network import ROOT
from ruamel.yaml import YAML

from ser import SerError
from ser.diagram.built import build
from ser.params import parse
from stages import preset

PRESETS = ["clean", "cnn_transformer", "default", "encoder_only", "linear", "linear_robust", "paper", "pretrained", "pupil", "zenkov"]


def load(path: Path) -> dict:
    return YAML(typ="safe", pure=True).load(path)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_presets_there_are() -> None:
    assert preset.names() == PRESETS


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("zenkov", 8, 248_488),  # published, at 40 × 282
        ("cnn_transformer", 8, 395_176),  # published, at 128 × 563
        ("paper", 6, 1_619_046),  # 2,419,878 receive a gradient in the original; ours spares the encoder's detour over 2,880 values
    ],
)
def test_parameter_counts(name: str, classes: int, parameters: int) -> None:
    params = parse(preset.merged(load(Path("params.yaml")), preset.checked(name)))
    assert sum(parameter.numel() for parameter in build(params, classes).parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "rows", "frames", "seconds"), [("zenkov", 40, 282, 3), ("cnn_transformer", 128, 563, 3), ("paper", 128, 313, 5)]
)
def test_shapes_of_the_originals(name: str, rows: int, frames: int, seconds: int) -> None:
    """At its published length each preset's CNN has as many steps as segments, or one more that the original cut off."""
    params = parse(preset.merged(load(Path("params.yaml")), preset.checked(name)))
    view = params.features.mfcc.n_mfcc if name == "zenkov" else params.features.log_mel.n_mels
    assert view == rows
    assert 1 + seconds * params.preprocess.sample_rate // params.features.frames.hop_length == frames
    pooled = frames
    for factor in params.model.cnn.pool_time:
        pooled //= factor
    assert pooled == params.model.cnn.segments


@pytest.mark.parametrize("name", PRESETS)
def test_dvc_makes_of_the_overrides_what_the_preset_says(tmp_path: Path, name: str) -> None:
    """DVC's own parser applies what the command prints, split into words as a shell splits it."""
    copy = tmp_path / "params.yaml"
    shutil.copy("params.yaml", copy)
    words = "\n".join(preset.overrides(preset.checked(name))).split()
    assert set(words[::2]) <= {"-S"}
    apply_overrides(copy, words[1::2])
    assert load(copy) == preset.merged(load(Path("params.yaml")), preset.checked(name))


def test_unknown_preset_names_the_others() -> None:
    with pytest.raises(SerError, match=rf"no preset 'papr'.*{', '.join(PRESETS)}"):
        preset.checked("papr")
    with pytest.raises(SerError, match="no preset"):
        preset.checked("../presets/paper")


def test_preset_with_a_wrong_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model:\n  fusoin: gate\n")
    with pytest.raises(SerError, match=r"with preset mine(.|\n)*model\.fusoin: unknown key; did you mean 'fusion'"):
        preset.checked("mine", tmp_path)


def test_words_a_shell_would_read_otherwise_are_refused() -> None:
    with pytest.raises(SerError, match="plain words"):
        preset.overrides({"model": {"fusion": "$(rm)"}})


def test_merged_leaves_the_given_values_alone() -> None:
    given = {"model": {"fusion": "sum", "cnn": {"channels": [1, 2], "bias": True}}}
    merged = preset.merged(given, {"model": {"cnn": {"channels": [3]}}})
    assert merged == {"model": {"fusion": "sum", "cnn": {"channels": [3], "bias": True}}}
    assert given["model"] == {"fusion": "sum", "cnn": {"channels": [1, 2], "bias": True}}


def test_command() -> None:
    listed = subprocess.run([sys.executable, "-m", "stages.preset"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in listed.splitlines()] == PRESETS
    printed = subprocess.run([sys.executable, "-m", "stages.preset", "zenkov"], capture_output=True, text=True, check=True).stdout
    assert "-S model.branches=[mfcc_cnn,transformer]\n" in printed
    assert "-S model.dim=null\n" in printed
    printed = subprocess.run([sys.executable, "-m", "stages.preset", "linear"], capture_output=True, text=True, check=True).stdout
    assert "-S features.encoder={name:whisper-tiny.en,layers:[1,2,3]}\n" in printed
    failed = subprocess.run([sys.executable, "-m", "stages.preset", "none"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: no preset 'none'")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "not found"),
        (b"", "found None"),
        (b"[1, 2]", "found"),
        (b"a: [", "is not valid YAML"),
        (b"a: 1\na: 2", "is not valid YAML"),
        (b"\x00\xb0", "is not valid YAML"),
        (b"%YAML 9.9\n---\na: 1", "is not valid YAML"),
        (b"a: 2020-13-01", "is not valid YAML"),
        (b"[" * 5000, "nests too deep"),
    ],
)
def test_a_broken_params_yaml_is_one_message(tmp_path: Path, text: bytes | None, says: str) -> None:
    if text is not None:
        (tmp_path / "params.yaml").write_bytes(text)
    with pytest.raises(SerError, match=rf"(?s)params\.yaml.*{says}"):
        preset.checked("paper", params=tmp_path / "params.yaml")


def test_a_broken_preset_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("train: [")
    (tmp_path / "none.yaml").write_text("")
    for name, says in (("mine", "mine.yaml is not valid YAML"), ("none", "none.yaml holds no keys")):
        with pytest.raises(SerError, match=says):
            preset.checked(name, tmp_path)


def test_a_preset_that_cannot_be_read_is_listed_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "latin.yaml").write_bytes(b"# caf\xe9\n")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "link.yaml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "whole.yaml").write_text("# \x1b[31mA system.\ntrain:\n  epochs: 1\n")
    preset.show(tmp_path)
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    for name, says in (
        ("empty", "(its first line is empty)"),
        ("latin", "not written in UTF-8"),
        ("folder", "a folder"),
        ("link", "no such file"),
        ("pipe", "no regular file"),
        ("whole", "\\x1b[31mA system."),
    ):
        assert says in listed.pop(name)
    assert listed == {}
    with pytest.raises(SerError, match=r"link\.yaml not found"):
        preset.checked("link", tmp_path)
