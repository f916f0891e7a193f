"""Voice activity detection: which parts of a signal are speech, by one of several detectors and common rules.

A detector gives one decision per frame. ``segments`` turns decisions into segments, ``keep`` applies them to
the signal.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any, Literal

import numpy as np
import webrtcvad

from ser import SerError
from ser.params.preprocess import Vad
from ser.signal.audio import resample
from ser.signal.clips import to_float, to_int16

WEBRTC_RATES = (8000, 16000, 32000, 48000)

SILERO_THRESHOLD = 0.5
"""Speech probability from which a frame is speech: the authors' default."""


def segments(signal: np.ndarray, sample_rate: int, vad: Vad) -> np.ndarray:
    """Segments of speech, int64 (k, 2): start and end (exclusive) in samples of ``signal``, sorted, disjoint.

    k = 0 means that no speech was detected. Method ``none`` returns the whole signal as one segment.

    Args:
        signal: mono, shape (n,), n ≥ 1: int16, or float in [−1, 1], which is rounded to int16: all detectors
            work on 16 bit.
        sample_rate: in Hz; webrtc needs 8, 16, 32 or 48 kHz.
        vad: method and rules.

    Raises:
        SerError: if the detector does not support the rate, or ``silero`` is not installed.
    """
    if vad.method == "none":
        return np.array([[0, len(signal)]], dtype=np.int64)
    pcm = signal if signal.dtype == np.int16 else to_int16(signal)
    if vad.method == "silero":
        decisions, frame = silero_decisions(pcm, sample_rate)
    else:
        frame = sample_rate * vad.frame_ms // 1000
        if frame == 0:
            raise SerError(f"preprocess.vad.frame_ms: {vad.frame_ms} ms at {sample_rate} Hz hold no value")
        decisions = np.ones(-(-len(pcm) // frame), dtype=bool)
    # The detectors need time to adapt: webrtc calls the first quarter of a second of near silence speech.
    decisions &= levels_db(pcm, sample_rate, frame) > -vad.energy_db
    if vad.method == "webrtc":
        end = len(decisions) - int(decisions[::-1].argmax())  # end of the last loud frame; later frames are silent whatever webrtc decides
        decisions[:end] &= webrtc_decisions(pcm[: end * frame], sample_rate, frame, vad.aggressiveness)
    return _segments_of(decisions, frame, sample_rate, len(pcm), vad)


def keep(signal: np.ndarray, segments: np.ndarray, how: Literal["trim", "concatenate", "mask"]) -> np.ndarray:
    """Apply segments: cut to the span of the speech, concatenate the speech, or set everything else to zero.

    Without any segment the signal is returned whole, because a laugh or a scream is not speech and still has
    its label.
    """
    if len(segments) == 0:
        return signal
    if how == "trim":
        return signal[segments[0, 0] : segments[-1, 1]]
    if how == "concatenate":
        return np.concatenate([signal[start:end] for start, end in segments])
    masked = np.zeros_like(signal)
    for start, end in segments:
        masked[start:end] = signal[start:end]
    return masked


def removed(segments: np.ndarray, length: int, how: Literal["trim", "concatenate", "mask"]) -> float:
    """Share of ``length`` samples that ``keep`` removes or sets to zero, 0–1."""
    if len(segments) == 0:
        return 0.0
    kept = segments[-1, 1] - segments[0, 0] if how == "trim" else (segments[:, 1] - segments[:, 0]).sum()
    return 1.0 - int(kept) / length


def webrtc_decisions(pcm: np.ndarray, sample_rate: int, frame: int, aggressiveness: int) -> np.ndarray:
    """WebRTC's Gaussian mixture detector on int16 frames of 10, 20 or 30 ms: bool (frames,).

    The last frame is zero-padded.

    Raises:
        SerError: for another rate.
    """
    if sample_rate not in WEBRTC_RATES:
        rates = ", ".join(str(rate) for rate in WEBRTC_RATES)
        raise SerError(f"preprocess.vad.method webrtc takes {rates} Hz, not {sample_rate}; choose another sample_rate, or energy")
    detector = webrtcvad.Vad(aggressiveness)  # it adapts to its input, so each signal needs a new one
    data, step = pcm.astype("<i2", copy=False).tobytes() + bytes(2 * (-len(pcm) % frame)), 2 * frame
    return np.array([detector.is_speech(data[i : i + step], sample_rate, frame) for i in range(0, len(data), step)])


def levels_db(signal: np.ndarray, sample_rate: int, frame: int) -> np.ndarray:
    """Level of each frame in dB relative to the loudest frame, float64 (frames,), ≤ 0; digital silence is −∞.

    A moving average over about 14 ms, in steps of at most 1/800 s, is subtracted first. It removes the
    inaudible 10 Hz of breath on a microphone, which can be as strong as the voice: −30 dB at 10 Hz, no change
    from 100 Hz on.
    """
    step = max(size for size in range(1, max(1, sample_rate // 800) + 1) if frame % size == 0)
    frames = -(-len(signal) // frame)
    padded = np.zeros(frames * frame, dtype=np.float32)
    padded[: len(signal)] = signal
    steps = padded.reshape(-1, step)
    ones = np.ones(step, dtype=np.float32)  # sums as products with ones: twice as fast as sum(axis=1)
    sums = (steps @ ones).astype(np.float64)
    squares = (np.square(steps, out=steps) @ ones).astype(np.float64)  # in place: a long recording fills much memory
    reach = max(1, round(sample_rate / 160 / step))
    drift = np.convolve(sums, np.full(2 * reach + 1, 1 / ((2 * reach + 1) * step)))[reach : reach + len(sums)]
    power = np.maximum(squares - 2 * drift * sums + step * drift**2, 0).reshape(frames, -1).sum(axis=1)  # Σ (x − drift)²
    loudest = power.max()
    if loudest == 0:
        return np.full(frames, -np.inf)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(power / loudest)


def silero_decisions(pcm: np.ndarray, sample_rate: int) -> tuple[np.ndarray, int]:
    """Silero's recurrent network on int16: bool (frames,), and the frame length (32 ms) in values of ``pcm``.

    Its input is at 16 kHz, or at 8 kHz for signals of 8 kHz. The network is part of the package
    ``silero-vad``. onnxruntime runs it, so neither torch nor torchaudio is imported.

    Raises:
        SerError: when the package is not installed.
    """
    rate = 8000 if sample_rate == 8000 else 16000
    heard = resample(to_float(pcm), sample_rate, rate)
    frame, context = rate * 32 // 1000, rate * 4 // 1000
    frames = -(-len(heard) // frame)
    padded = np.zeros(context + frames * frame, dtype=np.float32)
    padded[context : context + len(heard)] = heard
    network, state, decisions = _silero_network(), np.zeros((2, 1, 128), dtype=np.float32), np.zeros(frames, dtype=bool)
    for i in range(frames):
        window = padded[None, i * frame : context + (i + 1) * frame]  # (1, context + frame)
        probability, state = network.run(None, {"input": window, "state": state, "sr": np.array(rate, dtype=np.int64)})
        decisions[i] = probability[0, 0] >= SILERO_THRESHOLD
    return decisions, sample_rate * 32 // 1000


@functools.cache
def _silero_network() -> Any:
    """The network, loaded once per process, on one thread, because the work is distributed over processes."""
    spec = importlib.util.find_spec("silero_vad")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise SerError("preprocess.vad.method silero needs an optional package: pip install 'silero-vad>=5', or choose webrtc or energy")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = Path(folders[0]) / "data" / "silero_vad.onnx"
    if not path.is_file():
        raise SerError(f"the installed silero-vad has no {path.name}: pip install --upgrade 'silero-vad>=5', or choose webrtc or energy")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _segments_of(decisions: np.ndarray, frame: int, sample_rate: int, length: int, vad: Vad) -> np.ndarray:
    """The common rules in order: close gaps, drop bursts, add hang-over and padding, join touching segments."""
    gap, burst, hangover, padding = (
        sample_rate * time // 1000 for time in (vad.min_silence_ms, vad.min_speech_ms, vad.hangover_ms, vad.padding_ms)
    )
    changes = np.flatnonzero(np.diff(decisions, prepend=False, append=False)).tolist()
    loud = [(frame * start, frame * end) for start, end in zip(changes[::2], changes[1::2], strict=True)]
    spoken = [(start, end) for start, end in _joined(loud, gap) if end - start >= burst]
    widened = [(max(0, start - padding), min(length, end + hangover + padding)) for start, end in spoken]
    return np.array(_joined(widened, 1), dtype=np.int64).reshape(-1, 2)


def _joined(pieces: list[tuple[int, int]], shortest: int) -> list[tuple[int, int]]:
    """Join neighbours with fewer than ``shortest`` samples between them."""
    joined: list[tuple[int, int]] = []
    for start, end in pieces:
        if joined and start - joined[-1][1] < shortest:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
