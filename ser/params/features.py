"""``features``: the views of a clip (log-mel, MFCC, …), every number a parameter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ser.params.base import Range, Section, Seed
from ser.params.encoder import Encoder

FunctionalSet = Literal["egemaps", "compare"]


class Frames(Section):
    n_fft: int = Field(ge=64, le=8192)
    """FFT length in samples."""
    win_length: int = Field(ge=16, le=8192)
    """Window length in samples, centred in the FFT; at most n_fft."""
    hop_length: int = Field(ge=16, le=8192)
    """Step between frames in samples."""
    window: Literal["hann", "hamming"]
    """Window shape (periodic)."""

    @model_validator(mode="after")
    def window_fits(self) -> Frames:
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} must be at most n_fft {self.n_fft}")
        return self


class ViewSection(Section):
    """Base of the sections of ``features`` that are views; the key of the section is the view's name (see ``ser/views/view.py``)."""

    def follows_bands(self, features: Features) -> bool:
        """Whether the view can be computed from the frames of log-mel, so that it follows when augmentation changes the mel bands."""
        return False


class LogMel(ViewSection):
    n_mels: int = Field(ge=8, le=512)
    """Number of mel bands (Slaney scale and area normalisation, as librosa)."""
    fmin: float = Field(ge=0, le=20000)
    """Lowest band edge in Hz."""
    fmax: float | None = Field(None, gt=0, le=24000)
    """Highest band edge in Hz; null: half the sample rate."""
    floor_db: float = Field(ge=-200, le=0)
    """Levels below this (dB re full-scale power 1) are raised to it; a fixed floor, so that it does not depend on the clip."""

    @model_validator(mode="after")
    def edges_are_ordered(self) -> LogMel:
        if self.fmax is not None and self.fmin >= self.fmax:
            raise ValueError(f"fmin {self.fmin:g} must be below fmax {self.fmax:g}")
        return self

    def follows_bands(self, features: Features) -> bool:
        return True


class Mfcc(ViewSection):
    n_mfcc: int = Field(ge=2, le=128)
    """Number of cepstral coefficients (orthonormal DCT-II)."""
    n_mels: int = Field(ge=8, le=512)
    """Mel bands under the DCT; own number, because the papers use 40 here and 128 for log-mel."""

    @model_validator(mode="after")
    def coefficients_exist(self) -> Mfcc:
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc {self.n_mfcc} must be at most n_mels {self.n_mels}")
        return self

    def follows_bands(self, features: Features) -> bool:
        return self.n_mels == features.log_mel.n_mels and not features.deltas


class Copies(Section):
    """Spoilt copies of every clip (``ser/signal/spoiling.py``). Only those of training clips are used, and only in training."""

    count: int = Field(ge=1, le=20)
    """Copies of each clip; they take as much time and disk again as the clips themselves, each."""
    room_share: float = Field(ge=0, le=1)
    """Share of the copies that are in a small room."""
    noise_share: float = Field(ge=0, le=1)
    """Share of the copies with a background."""
    babble_share: float = Field(ge=0, le=1)
    """Share of the backgrounds that are voices, made of the clip itself; the others are noise between white and brown."""
    snr_db: Range
    """The background's signal-to-noise ratio is drawn from [low, high] dB."""
    line_share: float = Field(ge=0, le=1)
    """Share of the copies that went through a telephone's band, MP3 or Opus."""
    gain_db: float = Field(ge=0, le=40)
    """Level changed by up to ± this many dB."""
    seed: Seed
    """Of the random numbers, with the number of the copy and the clip's place in the store."""


class Features(Section):
    backend: Literal["native", "librosa"]
    """native: numpy + scipy.fft; librosa: slow reference implementation with the same results."""
    frames: Frames
    log_mel: LogMel
    mfcc: Mfcc
    deltas: bool
    """Append first-order deltas to every view."""
    functionals: FunctionalSet | None = None
    """Computed beside the views by openSMILE (an optional package with a non-commercial licence), and read by model.kind svm instead of
    them. egemaps: eGeMAPSv02, 88 for each clip. compare: ComParE_2016, 6,373. null: none."""
    encoder: Encoder | None = None
    """A frozen pretrained speech encoder, read by the stage encode. null: none, and nothing is downloaded."""
    copies: Copies | None = None
    """Spoilt copies, so that a model hears more than clean recordings. null: none."""
    normalise: Literal["corpus", "speaker", "clip"]
    """Read by train and evaluate, not by features. corpus: statistics of the training clips. speaker: each speaker by the
    speaker's own unlabelled clips (a protocol of its own). clip: each clip by itself."""

    @property
    def views(self) -> dict[str, ViewSection]:
        """The views that are computed, by name, in the order of their sections; a view whose section is null is left out."""
        return {name: section for name, section in self if isinstance(section, ViewSection)}

    @property
    def apart(self) -> list[str]:
        """Views that do not follow when the mel bands are changed."""
        return [name for name, section in self.views.items() if not section.follows_bands(self)]

    @model_validator(mode="after")
    def functionals_can_be_normalised(self) -> Features:
        if self.functionals is not None and self.normalise == "clip":
            raise ValueError("normalise: clip cannot be used with functionals (one vector per clip); choose corpus or speaker")
        return self
