"""``preprocess``: from packed archives to clips of speech at the working rate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ser.params.base import Section


class Vad(Section):
    """Voice activity detection. The detector decides per frame; all other rules are shared."""

    method: Literal["webrtc", "silero", "energy", "none"]
    """Detector: webrtc (GMM of WebRTC), silero (optional extra), energy (threshold under the peak) or none."""
    keep: Literal["trim", "concatenate", "mask"]
    """trim: first to last speech; concatenate: speech only; mask: full length with zeros where there is none."""
    aggressiveness: int = Field(ge=0, le=3)
    """webrtc only: 0 keeps most, 3 removes most."""
    frame_ms: Literal[10, 20, 30]
    """Length of a decision frame in milliseconds; silero has 32, whatever stands here."""
    energy_db: float = Field(ge=5, le=90)
    """A frame at least this far below the clip's loudest frame, in dB, is silence, whatever webrtc or silero says; energy's only rule."""
    hangover_ms: int = Field(ge=0, le=2000)
    """Speech goes on for this long after the last speech frame."""
    min_speech_ms: int = Field(ge=0, le=5000)
    """Shorter bursts of speech are dropped."""
    min_silence_ms: int = Field(ge=0, le=5000)
    """Shorter gaps between speech are closed."""
    padding_ms: int = Field(ge=0, le=2000)
    """Added on both sides of each segment."""


class Preprocess(Section):
    sample_rate: Literal[8000, 16000, 32000, 48000]
    """Working rate in Hz; the four that webrtc knows."""
    vad: Vad
    min_seconds: float = Field(ge=0.0, le=60.0)
    """Recordings shorter than this, before VAD, are rejected."""
    max_clipped: float = Field(gt=0, le=1)
    """Recordings with a larger share of full-scale samples are rejected."""
    max_rejected: float = Field(ge=0, le=1)
    """The stage fails when a larger share of a corpus is rejected."""
    deduplicate: bool
    """Keep one of several recordings with the same decoded audio."""
