"""Whisper's log-mel and its encoder, held against librosa, torch's own layers and, where it is installed, transformers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ser import SerError
from ser.encoders import frozen, whisper
from ser.encoders.cutting import fed, pieces
from ser.encoders.whisper_mel import log_mel
from tests.encoders import tiny

SECOND = 16_000


def tone(samples: int) -> np.ndarray:
    return (0.9 * np.sin(2 * np.pi * 440 * np.arange(samples) / SECOND)).astype(np.float32)


SIGNALS = {
    "speech-like": np.concatenate([tiny.noise(3 * SECOND), np.zeros(SECOND, np.float32)]),
    "tone": np.concatenate([tone(2 * SECOND), np.zeros(SECOND, np.float32)]),
    "faint": tiny.noise(SECOND, level=1e-4),
    "silence": np.zeros(SECOND, np.float32),
    "0.1 s and a second of silence": np.concatenate([tiny.noise(1600), np.zeros(SECOND, np.float32)]),
    "shortest": tiny.noise(640),
}


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("name", SIGNALS)
def test_log_mel_is_librosas_with_whispers_scale(name, bands):
    signal = SIGNALS[name]
    power = librosa.feature.melspectrogram(y=signal, sr=SECOND, n_fft=400, hop_length=160, n_mels=bands, pad_mode="reflect")[:, :-1]
    levels = np.log10(np.maximum(power, 1e-10))
    expected = (np.maximum(levels, levels.max() - 8) + 4) / 4
    found = log_mel(signal, bands)
    assert (found.dtype, found.shape) == (np.float32, (bands, len(signal) // 160))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("name", SIGNALS)
def test_log_mel_is_that_of_transformers(name, bands):
    transformers = pytest.importorskip("transformers", reason="transformers, an optional package, is not installed")
    extractor = transformers.WhisperFeatureExtractor(feature_size=bands)
    expected = extractor(SIGNALS[name], sampling_rate=SECOND, padding=False, return_tensors="np")["input_features"][0]
    np.testing.assert_allclose(log_mel(SIGNALS[name], bands), expected, atol=1e-4)


def test_the_maximum_is_that_of_all_that_is_fed():
    """A loud second makes the floor of a faint one; a level is an offset."""
    faint, loud = tiny.noise(SECOND, level=1e-6), tone(SECOND)
    together = log_mel(np.concatenate([loud, faint]), 80)
    assert together[:, -50:].min() == pytest.approx(together.max() - 2)
    assert log_mel(faint, 80).min() < together[:, -50:].min()
    np.testing.assert_allclose(
        log_mel(10 * tiny.noise(SECOND, level=0.01), 80) - log_mel(tiny.noise(SECOND, level=0.01), 80), 0.5, atol=1e-4
    )


@pytest.mark.parametrize(
    ("samples", "silence", "length"),
    [(1600, 16_000, 17_600), (1601, 0, 1920), (1, 0, 640), (640, 0, 640), (960_000, 16_000, 976_000)],
)
def test_what_is_fed_is_whole_steps(samples, silence, length):
    signal = tiny.noise(samples)
    whole = fed(signal, silence)
    assert len(whole) == length
    np.testing.assert_array_equal(whole[:samples], signal)
    assert not whole[samples:].any()


@pytest.mark.parametrize(("tokens", "most"), [(1, 5), (5, 5), (6, 5), (3050, 1500), (1501, 1500)])
def test_pieces_cover_all_and_are_as_few_and_equal_as_can_be(tokens, most):
    cuts = pieces(tokens, most)
    lengths = [end - start for start, end in cuts]
    assert [cuts[0][0], cuts[-1][1]] == [0, tokens]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(cuts))
    assert len(cuts) == -(-tokens // most)
    assert max(lengths) <= most
    assert max(lengths) - min(lengths) <= 1


OURS = {
    "norm1": "self_attn_layer_norm",
    "norm2": "final_layer_norm",
    "linear1": "fc1",
    "linear2": "fc2",
    "self_attn.out_proj": "self_attn.out_proj",
}
"""Names in torch's Transformer layer, and in Whisper."""


def by_torch(folder: Path, mel: torch.Tensor) -> list[torch.Tensor]:
    """All hidden states by torch's own Transformer layer, which shares no line with ours."""
    config = json.loads((folder / "config.json").read_text())
    weights = {name.removeprefix("model.encoder."): values.float() for name, values in load_file(folder / "model.safetensors").items()}
    x = nn.functional.gelu(nn.functional.conv1d(mel, weights["conv1.weight"], weights["conv1.bias"], padding=1))
    x = nn.functional.gelu(nn.functional.conv1d(x, weights["conv2.weight"], weights["conv2.bias"], stride=2, padding=1)).mT
    states = [x + weights["embed_positions.weight"][: x.shape[1]]]
    width, heads, count = config["d_model"], config["encoder_attention_heads"], config["encoder_layers"]
    for number in range(count):
        layer = nn.TransformerEncoderLayer(width, heads, config["encoder_ffn_dim"], 0.0, "gelu", batch_first=True, norm_first=True).eval()
        of = {name.removeprefix(f"layers.{number}."): values for name, values in weights.items() if name.startswith(f"layers.{number}.")}
        biases = [of["self_attn.q_proj.bias"], torch.zeros(width), of["self_attn.v_proj.bias"]]
        renamed = {
            "self_attn.in_proj_weight": torch.cat([of[f"self_attn.{part}_proj.weight"] for part in "qkv"]),
            "self_attn.in_proj_bias": torch.cat(biases),
        }
        for theirs, ours in OURS.items():
            renamed |= {f"{theirs}.{part}": of[f"{ours}.{part}"] for part in ("weight", "bias")}
        layer.load_state_dict(renamed)
        states.append(layer(states[-1]))
    states[-1] = nn.functional.layer_norm(states[-1], (width,), weights["layer_norm.weight"], weights["layer_norm.bias"])
    return states


def loaded(folder: Path, chosen: list[int]) -> whisper.Whisper:
    return whisper.load(folder / "model.safetensors", frozen.read_config(folder), chosen)


@pytest.mark.parametrize("frames", [2, 100, 400])
@pytest.mark.parametrize("chosen", [[0], [1], [0, 2], [3], [0, 1, 2, 3]])
def test_hidden_states_are_those_of_torchs_own_layers(tmp_path, chosen, frames):
    folder = tiny.whisper(tmp_path / "made")
    mel = torch.randn(2, 80, frames)
    with torch.inference_mode():
        expected = by_torch(folder, mel)
        found = loaded(folder, chosen).network(mel)
    assert found.shape == (2, frames // 2, len(chosen), 32)
    for place, number in enumerate(chosen):
        torch.testing.assert_close(found[:, :, place], expected[number], atol=1e-5, rtol=1e-5)


def of_transformers(folder: Path, mel: torch.Tensor) -> tuple[torch.Tensor, ...]:
    transformers = pytest.importorskip("transformers", reason="transformers, an optional package, is not installed")
    config = transformers.WhisperConfig.from_pretrained(folder)
    network = transformers.models.whisper.modeling_whisper.WhisperEncoder(config).eval()
    weights = load_file(folder / "model.safetensors")
    network.load_state_dict({name.removeprefix("model.encoder."): values.float() for name, values in weights.items() if "encoder." in name})
    with torch.inference_mode():
        return network(mel, output_hidden_states=True).hidden_states


def test_hidden_states_are_those_of_transformers_at_full_length(tmp_path):
    folder = tiny.whisper(tmp_path / "made")
    mel = torch.randn(1, 80, 400)
    expected = of_transformers(folder, mel)
    with torch.inference_mode():
        found = loaded(folder, [0, 1, 2, 3]).network(mel)
    torch.testing.assert_close(found, torch.stack(expected, dim=2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "layers"), [("whisper-base", 6), ("whisper-tiny.en", 4)])
def test_the_real_encoders_give_the_states_of_transformers(name, layers):
    folder = tiny.REAL / name
    if not folder.is_dir():
        pytest.skip(f"the real weights of {name} are not on this machine")
    mel = torch.from_numpy(log_mel(np.pad(tiny.noise(2 * SECOND), (0, 28 * SECOND)), 80))[None]
    expected = of_transformers(folder, mel)
    with torch.inference_mode():
        found = loaded(folder, list(range(layers + 1))).network(mel)
    for number, states in enumerate(expected):  # the residual stream of base reaches 500
        torch.testing.assert_close(found[:, :, number], states, atol=1e-5 * float(states.abs().max()), rtol=1e-5)


@pytest.mark.parametrize("prefix", ["model.encoder.", "encoder.", ""])
def test_weights_load_whoever_saved_them(tmp_path, prefix):
    usual, other = tiny.whisper(tmp_path / "usual"), tiny.whisper(tmp_path / "other", prefix)
    signal = tiny.noise(SECOND)
    np.testing.assert_array_equal(loaded(other, [1, 3]).states(signal, 0), loaded(usual, [1, 3]).states(signal, 0))


def test_half_precision_is_widened(tmp_path):
    folder = tiny.whisper(tmp_path / "half", dtype=torch.float16)
    found = loaded(folder, [2])
    assert {values.dtype for values in found.network.parameters()} == {torch.float32}
    assert found.states(tiny.noise(SECOND), 0).dtype == np.float32


def test_what_lies_above_the_highest_state_is_neither_needed_nor_run(tmp_path):
    folder = tiny.whisper(tmp_path / "made")
    whole = loaded(folder, [0, 1, 2, 3]).states(tiny.noise(SECOND), 0)
    weights = load_file(folder / "model.safetensors")
    save_file({name: values for name, values in weights.items() if "layers.2" not in name}, folder / "model.safetensors")
    np.testing.assert_array_equal(loaded(folder, [0, 2]).states(tiny.noise(SECOND), 0), whole[:, [0, 2]])
    assert len(loaded(folder, [0]).network.layers) == 0
    with pytest.raises(SerError, match=r"layers\.2"):
        loaded(folder, [3])


@pytest.mark.parametrize(
    ("samples", "silence", "tokens"), [(1600, SECOND, 55), (1600, 0, 5), (1, 0, 2), (8 * SECOND, 0, 400), (8 * SECOND + 1, SECOND, 451)]
)
def test_there_are_fifty_states_a_second_of_all_that_is_fed(tmp_path, samples, silence, tokens):
    found = loaded(tiny.whisper(tmp_path / "made"), [1, 2]).states(tiny.noise(samples), silence)
    assert found.shape == (tokens, 2, 32)
    assert np.isfinite(found).all()


def test_a_long_clip_is_heard_in_pieces_of_one_log_mel(tmp_path):
    encoder = loaded(tiny.whisper(tmp_path / "made"), [2])
    signal = tiny.noise(10 * SECOND)
    mel = torch.from_numpy(log_mel(signal, 80))[None]  # 500 tokens, of which the encoder has positions for 200
    with torch.inference_mode():
        parts = [encoder.network(mel[:, :, start:end])[0] for start, end in ((0, 332), (332, 666), (666, 1000))]
    np.testing.assert_array_equal(encoder.states(signal, 0), torch.cat(parts).numpy())


def broken(folder: Path, how: str) -> None:
    """Spoil an encoder's folder."""
    weights, config = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    match how:
        case "a weight is missing":
            del weights["model.encoder.conv1.bias"]
        case "a weight has another shape":
            weights["model.encoder.conv1.bias"] = torch.zeros(7)
        case "a weight too many":
            weights["model.encoder.layers.0.adapter.weight"] = torch.zeros(7)
        case "no sizes":
            del config["d_model"]
        case "a size is text":
            config["encoder_layers"] = "3"
        case "heads do not fit":
            config["encoder_attention_heads"] = 5
        case "another family":
            config["model_type"] = "bert"
        case "too few layers":
            config["encoder_layers"] = 1
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    match how:
        case "no safetensors":
            (folder / "model.safetensors").write_bytes(b"\xff" * 99)
        case "header of a petabyte":
            (folder / "model.safetensors").write_bytes((1 << 50).to_bytes(8, "little") + b"{}")
        case "no json":
            (folder / "config.json").write_text("{")
        case "no object":
            (folder / "config.json").write_text("[1]")
        case "no config":
            (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("a weight is missing", "conv1.bias"),
        ("a weight has another shape", "size mismatch for conv1.bias"),
        ("a weight too many", "layers.0.adapter.weight"),
        ("no sizes", "d_model is None"),
        ("a size is text", "encoder_layers is '3'"),
        ("heads do not fit", "heads divide the width"),
        ("another family", "'bert'"),
        ("too few layers", "hidden states 0 to 1"),
        ("no safetensors", "does not match its config.json"),
        ("header of a petabyte", "does not match its config.json"),
        ("no json", "is not a config.json of an encoder"),
        ("no object", "is not a config.json of an encoder"),
        ("no config", "config.json is missing"),
    ],
)
def test_a_broken_folder_is_refused_by_name(tmp_path, how, says):
    folder = tiny.whisper(tmp_path / "made")
    broken(folder, how)
    with pytest.raises(SerError) as error:
        frozen.load(folder, [0, 2])
    assert says in str(error.value)


def test_states_beyond_float16_are_refused(tmp_path):
    folder = tiny.whisper(tmp_path / "made")
    weights = load_file(folder / "model.safetensors")
    weights["model.encoder.embed_positions.weight"] *= 1e6
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(SerError, match="do not fit into float16"):
        frozen.hidden_states(frozen.load(folder, [0]), tiny.noise(SECOND), SECOND, 0.0)


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_other_rates_are_resampled(tmp_path, rate):
    """A tone is the same tone at any rate."""
    encoder = frozen.load(tiny.whisper(tmp_path / "made"), [1])
    at = {hz: (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * hz) / hz)).astype(np.float32) for hz in (SECOND, rate)}
    one, other = (frozen.hidden_states(encoder, signal, hz, 1.0).astype(np.float32) for hz, signal in at.items())
    assert len(one) == len(other) == 150
    inner = slice(10, 90)  # the filter's edges apart
    assert np.abs(one[inner] - other[inner]).max() < 0.2 * np.abs(one[inner]).max()
