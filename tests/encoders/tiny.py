"""Tiny encoders with random weights, in folders as the hub has them, and a store of made clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from ser.encoders.whisper import Shape, WhisperEncoder
from ser.signal.clips import COLUMNS

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "encoders"
"""Where real encoders lie on machines that have them."""

CONFIG: dict[str, Any] = {
    "model_type": "whisper",
    "num_mel_bins": 80,
    "d_model": 32,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "encoder_layers": 3,
    "max_source_positions": 200,
}
"""A Whisper encoder of 4 s and three layers."""

MADE = {
    "wav2vec2": ("Wav2Vec2Config", {"do_stable_layer_norm": False, "feat_extract_norm": "group"}),
    "wav2vec2 large": ("Wav2Vec2Config", {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
    "hubert": ("HubertConfig", {"do_stable_layer_norm": False, "feat_extract_norm": "group"}),
    "hubert large": ("HubertConfig", {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
    "wavlm": ("WavLMConfig", {"do_stable_layer_norm": False, "feat_extract_norm": "group"}),
    "wavlm large": ("WavLMConfig", {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
    "data2vec-audio": ("Data2VecAudioConfig", {"num_conv_pos_embeddings": 3}),
}
"""Waveform encoders as published in both sizes: class of the configuration, and where they differ."""


def whisper(folder: Path, prefix: str = "model.encoder.", dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """A Whisper with random weights, some of a decoder beside them."""
    config = CONFIG | changes
    torch.manual_seed(0)
    network = WhisperEncoder(Shape.of(config, "config.json"), [config["encoder_layers"]])
    for values in network.parameters():
        torch.nn.init.normal_(values, std=0.3)
    tensors = {prefix + name: values.detach().to(dtype).contiguous() for name, values in network.state_dict().items()}
    if prefix:
        tensors[f"{prefix.replace('encoder', 'decoder')}layers.0.fc1.weight"] = torch.ones(3)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def waveform(folder: Path, kind: str, normalise: bool = True) -> Any:
    """A waveform encoder of ``MADE`` with random weights in a folder; the whole network, for comparison."""
    import transformers

    name, changes = MADE[kind]
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64, "conv_dim": (16,) * 7}
    positions = {} if kind == "data2vec-audio" else {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    torch.manual_seed(0)
    network = transformers.AutoModel.from_config(getattr(transformers, name)(**sizes, **positions, **changes)).eval()
    network.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder)
    return network


def noise(samples: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """White noise, float32."""
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def store(folder: Path, lengths: list[int]) -> Path:
    """A clips folder as preprocess writes it, of noise."""
    folder.mkdir(parents=True)
    rows: dict[str, Any] = {name: [""] * len(lengths) for name in COLUMNS}
    rows |= {name: [0] * len(lengths) for name, kind in COLUMNS.items() if kind != "string"}
    rows |= {"clip": [f"clip{number:03}" for number in range(len(lengths))], "samples": lengths}
    rows["offset"] = np.cumsum([0, *lengths])[:-1].tolist()
    pd.DataFrame(rows).to_csv(folder / "clips.csv", index=False)
    np.save(folder / "audio.npy", np.concatenate([(32768 * noise(n, seed)).astype(np.int16) for seed, n in enumerate(lengths)]))
    return folder
