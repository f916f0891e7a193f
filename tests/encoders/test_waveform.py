"""Encoders that hear the waveform, held against the whole network in transformers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ser import SerError
from ser.encoders import frozen, waveform
from tests.encoders import tiny

SECOND = 16_000


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="transformers, an optional package, is not installed")


@pytest.mark.parametrize("chosen", [[0], [2], [0, 1, 3], [4]], ids=str)
@pytest.mark.parametrize("kind", tiny.MADE)
def test_hidden_states_of_the_cut_network_are_those_of_the_whole(transformers, tmp_path, kind, chosen):
    whole = tiny.waveform(tmp_path, kind)
    signal = tiny.noise(SECOND)
    fed = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)(signal, sampling_rate=SECOND, return_tensors="pt")["input_values"]
    with torch.inference_mode():
        expected = whole(torch.cat([fed, torch.zeros(1, SECOND)], dim=1), output_hidden_states=True).hidden_states
    encoder = waveform.load(tmp_path, chosen)
    found = encoder.states(signal, SECOND)
    assert len(encoder.network.encoder.layers) == max(1, *chosen)
    assert found.dtype == np.float32
    for place, number in enumerate(chosen):
        np.testing.assert_allclose(found[:, place], expected[number][0].numpy(), atol=1e-5)


def test_a_clip_is_normalised_where_the_folder_says_so(transformers, tmp_path):
    tiny.waveform(tmp_path / "yes", "wavlm large", normalise=True)
    tiny.waveform(tmp_path / "no", "wavlm large", normalise=False)
    signal = tiny.noise(SECOND) + np.float32(0.3)
    level = (signal - signal.mean()) / signal.std()
    plain = waveform.load(tmp_path / "no", [1])
    np.testing.assert_allclose(waveform.load(tmp_path / "yes", [1]).states(signal, 800), plain.states(level, 800), atol=1e-4)
    assert np.abs(plain.states(signal, 800) - plain.states(level, 800)).max() > 1e-3


@pytest.mark.parametrize(("samples", "silence", "tokens"), [(1600, SECOND, 54), (1600, 0, 4), (1, 0, 1), (60 * SECOND, SECOND, 3049)])
def test_there_are_fifty_states_a_second(transformers, tmp_path, samples, silence, tokens):
    tiny.waveform(tmp_path, "hubert")
    found = waveform.load(tmp_path, [1]).states(tiny.noise(samples), silence)
    assert found.shape == (tokens, 1, 32)
    assert np.isfinite(found).all()


def test_pieces_of_a_long_clip_hear_all_that_their_tokens_see(transformers, tmp_path):
    tiny.waveform(tmp_path, "wav2vec2 large")
    encoder = waveform.load(tmp_path, [0])
    short = waveform.Waveform(encoder.network, encoder.chosen, False, positions=20)
    signal = tiny.noise(SECOND)  # 49 tokens: 16, 16 and 17
    parts = [signal[:5360], signal[320 * 16 : 320 * 31 + 400], signal[320 * 32 :]]
    direct = [encoder.network(torch.from_numpy(part)[None], output_hidden_states=True).hidden_states[0][0] for part in parts]
    np.testing.assert_allclose(short.states(signal, 0)[:, 0], torch.cat(direct).numpy(), atol=1e-5)


def spoil(folder: Path, how: str) -> None:
    config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    match how:
        case "no preprocessor":
            (folder / "preprocessor_config.json").unlink()
        case "preprocessor without the switch":
            (folder / "preprocessor_config.json").write_text("{}")
        case "a switch that is none":
            (folder / "preprocessor_config.json").write_text('{"do_normalize": "yes"}')
        case "another stem":
            config["conv_stride"] = [5, 2, 2, 2, 2, 2, 1]
            (folder / "config.json").write_text(json.dumps(config))
        case "a weight is missing":
            save_file(
                {name: one for name, one in weights.items() if name != "encoder.layers.1.final_layer_norm.bias"},
                folder / "model.safetensors",
            )
        case "no safetensors":
            (folder / "model.safetensors").write_bytes(b"\xff" * 99)
        case "pickle only":
            (folder / "model.safetensors").unlink()
            torch.save(weights, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no preprocessor", "preprocessor_config.json is missing"),
        ("preprocessor without the switch", "does not say do_normalize"),
        ("a switch that is none", "'yes'; allowed: true or false"),
        ("another stem", "its stem is unknown"),
        ("a weight is missing", "lacks 1 weights, encoder.layers.1.final_layer_norm.bias"),
        ("no safetensors", "cannot be loaded"),
        ("pickle only", "cannot be loaded"),
    ],
)
def test_a_broken_folder_is_refused_by_name(transformers, tmp_path, how, says):
    tiny.waveform(tmp_path, "wav2vec2")
    spoil(tmp_path, how)
    with pytest.raises(SerError) as error:
        frozen.load(tmp_path, [2])
    assert says in str(error.value)


def test_without_the_optional_package_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    (tmp_path / "config.json").write_text('{"model_type": "wavlm", "num_hidden_layers": 2, "hidden_size": 8}')
    with pytest.raises(SerError, match=r"pip install 'transformers>=5\.24'.*Whisper needs none"):
        frozen.load(tmp_path, [1])
    assert frozen.load(tiny.whisper(tmp_path / "whisper"), [1]).states(tiny.noise(SECOND), 0).shape == (50, 1, 32)
