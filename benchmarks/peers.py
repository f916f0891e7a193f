"""Peers of the way from archive to features: librosa, openSMILE, and the bare libraries all code needs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import soundfile as sf
import webrtcvad

from ser.params import Params


def librosa_loop(recordings: list[bytes], params: Params, how: str) -> None:
    """Load at the working rate, split, compute log-mel and MFCC.

    Args:
        recordings: content of the files.
        params: working rate and feature parameters.
        how: ``plain`` uses librosa's default FFT length, hop and number of bands; ``same`` uses our numbers;
            ``shared`` also computes MFCC from the same log-mel, as fast code would.
    """
    import librosa

    frames, mel = params.features.frames, params.features.log_mel
    ours = {"n_fft": frames.n_fft, "win_length": frames.win_length, "hop_length": frames.hop_length}
    options: dict[str, Any] = {} if how == "plain" else ours | {"n_mels": mel.n_mels, "fmin": mel.fmin, "fmax": mel.fmax}
    for data in recordings:
        signal, rate = librosa.load(io.BytesIO(data), sr=params.preprocess.sample_rate)
        speech = np.concatenate([signal[start:end] for start, end in librosa.effects.split(signal)])
        log_mel = librosa.power_to_db(librosa.feature.melspectrogram(y=speech, sr=rate, **options), top_db=None)
        if how == "shared":
            librosa.feature.mfcc(S=log_mel, n_mfcc=params.features.mfcc.n_mfcc)
        else:
            librosa.feature.mfcc(y=speech, sr=rate, n_mfcc=params.features.mfcc.n_mfcc, **options)


def opensmile_loop(recordings: list[bytes]) -> None:
    """Compute the eGeMAPS functionals of every recording."""
    import opensmile

    smile = opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02)
    for data in recordings:
        signal, rate = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)
        smile.process_signal(signal.mean(axis=1), rate)


def bare_decode(archive: Path) -> None:
    """Decode every recording of the archive with libsndfile."""
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            sf.read(io.BytesIO(packed.read(name)), dtype="float32")


def bare_vad(signals: list[np.ndarray], params: Params) -> None:
    """Ask WebRTC's detector about every frame."""
    rate, vad = params.preprocess.sample_rate, params.preprocess.vad
    step = 2 * rate * vad.frame_ms // 1000
    for pcm in signals:
        detector, data = webrtcvad.Vad(vad.aggressiveness), pcm.tobytes()
        for start in range(0, len(data) - step + 1, step):
            detector.is_speech(data[start : start + step], rate)


def bare_fft(signals: list[np.ndarray], params: Params) -> None:
    """One windowed FFT in single precision of every frame that VAD kept, in blocks that fit the cache."""
    frames = params.features.frames
    window = np.hanning(frames.win_length).astype(np.float32)
    for signal in signals:
        if len(signal) >= frames.win_length:
            cut = np.lib.stride_tricks.sliding_window_view(signal, frames.win_length)[:: frames.hop_length]
            for start in range(0, len(cut), 64):
                scipy.fft.rfft(cut[start : start + 64] * window, n=frames.n_fft)
