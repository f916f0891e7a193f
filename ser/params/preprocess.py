"""``preprocess``: from archives to clips of speech at the working rate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ser.params.base import Section


class Vad(Section):
    """Voice activity detection. The detector decides per frame; all other rules are shared."""

    method: Literal["webrtc", "silero", "energy", "none"]
    """Detector. webrtc: GMM of WebRTC. silero: optional package. energy: threshold under the peak. none."""
    keep: Literal["trim", "concatenate", "mask"]
    """trim: first to last speech. concatenate: speech only. mask: full length, with zeros outside speech."""
    aggressiveness: int = Field(ge=0, le=3)
    """webrtc only: 0 keeps most, 3 removes most."""
    frame_ms: Literal[10, 20, 30]
    """Length of a decision frame in ms; silero always uses 32."""
    energy_db: float = Field(ge=5, le=90)
    """A frame at least this many dB below the clip's loudest frame is silence, for every detector. energy has
    no other rule."""
    hangover_ms: int = Field(ge=0, le=2000)
    """Speech is extended by this many ms after the last speech frame."""
    min_speech_ms: int = Field(ge=0, le=5000)
    """Shorter spans of speech are dropped, in ms."""
    min_silence_ms: int = Field(ge=0, le=5000)
    """Shorter gaps between speech are closed, in ms."""
    padding_ms: int = Field(ge=0, le=2000)
    """Added on both sides of each segment, in ms."""


class Preprocess(Section):
    sample_rate: Literal[8000, 16000, 32000, 48000]
    """Working rate in Hz; webrtc supports these four."""
    vad: Vad
    min_seconds: float = Field(ge=0.0, le=60.0)
    """Recordings shorter than this before VAD are rejected."""
    max_clipped: float = Field(gt=0, le=1)
    """Recordings with a larger share of full-scale samples are rejected."""
    max_missing: float = Field(0.05, ge=0, le=1)
    """Recordings of which a larger share is missing (cut off, or unreadable in the middle) are rejected as damaged; 1 rejects none."""
    max_rejected: float = Field(ge=0, le=1)
    """The stage fails when a larger share of a corpus is rejected."""
    deduplicate: bool
    """Keep only one of several recordings with the same decoded audio, and none where their labels or speakers contradict each other."""
