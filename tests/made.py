"""Small data made on the spot for tests of training and what follows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ruamel.yaml import YAML

from ser.encoders.store import Encoded, EncoderFacts
from ser.params import Params, parse
from ser.signal.clips import COLUMNS
from ser.training import hidden
from ser.training.batches import Corpus
from ser.training.inference import Trained
from ser.views import features
from ser.views.mfcc import dct_matrix

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ["neutral", "happy", "sad"]
ENCODER = EncoderFacts(name="made", layers=[1, 2, 4], width=6, tokens_per_second=50.0, silence_seconds=1.0, sha256="0" * 64, licence="MIT")
"""A made encoder, whose second stored layer tells the class."""


def params(**changes: Any) -> Params:
    """The project's own parameters, shrunk and with all kinds of augmentation, changed by dotted key (double underscore for the dot)."""
    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    small = {
        "features__log_mel__n_mels": 16,
        "features__mfcc__n_mels": 16,
        "features__mfcc__n_mfcc": 12,
        "model__dim": 16,
        "model__cnn__channels": [4, 8, 8],
        "model__cnn__stride_bins": [2, 1, 1],
        "model__cnn__stride_time": [2, 1, 1],
        "model__cnn__pool_bins": [1, 4, 2],
        "model__cnn__pool_time": [1, 2, 2],
        "model__cnn__dropout": 0.1,
        "model__transformer__layers": 1,
        "model__transformer__dim": 16,
        "model__transformer__ffn": 32,
        "train__epochs": 4,
        "train__batch_size": 8,
        "features__copies": None,
        "features__log_mel__floor_db": -100.0,
        "train__augment__noise_snr_db": [5.0, 30.0],
        "train__augment__shift_seconds": 0.2,
        "train__augment__speed": 0.1,
        "train__augment__freq_masks": 2,
        "train__augment__freq_width": 4,
    }
    for key, value in {**small, **changes}.items():
        section = values
        *path, last = key.split("__")
        for name in path:
            section = section[name]
        assert last in section, key
        section[last] = value
    return parse(values)


def corpus(params: Params, clips: int = 24, seed: int = 0, length: tuple[int, int] = (20, 60)) -> Corpus:
    """Clips whose class shows in the level of a few bands, by four speakers in turn."""
    random = np.random.default_rng(seed)
    settings = params.features
    target = np.arange(clips) % len(CLASSES)
    lengths = random.integers(*length, clips)
    pieces = []
    for number, frames in zip(target, lengths, strict=True):
        piece = random.normal(-50, 8, (frames, settings.log_mel.n_mels))
        piece[:, 4 * number : 4 * number + 4] += 12
        pieces.append(piece.astype(np.float16))
    log_mel = np.concatenate(pieces)
    cosines = dct_matrix(settings.log_mel.n_mels, settings.mfcc.n_mfcc).T.astype(np.float32)
    ends = np.cumsum(lengths)
    return Corpus(
        views={
            "log_mel": torch.from_numpy(log_mel),
            "mfcc": torch.from_numpy((log_mel.astype(np.float32) @ cosines).astype(np.float16)),
        },
        start=torch.from_numpy(ends - lengths),
        length=torch.from_numpy(lengths),
        target=torch.from_numpy(target),
        group=torch.arange(clips) % 4,
        group_statistics={},
        silence={name: torch.from_numpy(frame) for name, frame in features.silence(settings).items()},
        per_db={name: torch.from_numpy(change) for name, change in features.per_db(settings).items()},
        from_log_mel={"mfcc": torch.from_numpy(cosines)},
        normalise=settings.normalise,
    )


def encoded(params: Params, clips: int = 24, seed: int = 0, length: tuple[int, int] = (20, 60)) -> tuple[Encoded, np.ndarray]:
    """Hidden states of the clips of ``corpus``, with those of half a second of silence behind them, and the samples of each clip."""
    random = np.random.default_rng(seed + 1)
    target = np.arange(clips) % len(CLASSES)
    frames = np.random.default_rng(seed).integers(*length, clips)
    samples = (frames - 1) * params.features.frames.hop_length
    tokens = -(-samples // 320)
    pieces = []
    for number, count in zip(target, tokens, strict=True):
        piece = random.normal(50, 20, (count + 25, 3, 6))
        piece[:count, 1, number] += 40
        piece[count:] = 500
        pieces.append(piece.astype(np.float16))
    offsets = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    return Encoded(np.concatenate(pieces), offsets, ENCODER.model_dump()), samples


def hearing(params: Params, clips: int = 24, seed: int = 0, length: tuple[int, int] = (20, 60)) -> Corpus:
    """``corpus`` with what the model reads of ``encoded``; recordings are at 16 kHz."""
    states, samples = encoded(params, clips, seed, length)
    reads = params.model.reads_encoder
    assert reads is not None
    speakers = np.array([f"s{number % 4}" for number in range(clips)])
    heard = hidden.load(
        states, samples, speakers, params.preprocess.sample_rate, params.features.frames.hop_length, params.features.normalise, reads,
        torch.device("cpu"),
    )  # fmt: skip
    return replace(corpus(params, clips, seed, length), hidden=heard)


def trained(params: Params) -> Trained:
    """What the network is, for the made corpus."""
    return Trained("made", CLASSES, [1], params.train.seeds, params.preprocess, params.features, params.model, params.train, {})


def table(clips: int = 24) -> pd.DataFrame:
    """``clips.csv`` of the made corpus, without audio."""
    rows: dict[str, Any] = {name: [""] * clips for name in COLUMNS}
    rows |= {"clip": [f"clip{number:03}.wav" for number in range(clips)], "emotion": [CLASSES[number % 3] for number in range(clips)]}
    rows |= {"speaker": [f"s{number % 4}" for number in range(clips)]}
    rows |= {name: [0] * clips for name, kind in COLUMNS.items() if kind != "string"}
    return pd.DataFrame(rows).astype(COLUMNS)
