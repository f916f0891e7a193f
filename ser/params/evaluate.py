"""``evaluate``: intervals, slices, robustness and gates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ser.params.base import Decibels, Section, Seed


class Gate(Section):
    """A bound on a metric; the stage fails if it is broken."""

    metric: str = Field(min_length=1)
    """Dotted path into metrics/corpora/<corpus>.json, such as ``ua``, ``slices.gender.gap`` or
    ``ci.ua.0`` (the lower limit)."""
    corpus: str | None = None
    """Corpus that the gate applies to; null: all."""
    at_least: float | None = None
    """Lower bound: the gate is broken if the metric is smaller."""
    at_most: float | None = None
    """Upper bound: the gate is broken if the metric is greater."""

    @model_validator(mode="after")
    def has_a_bound(self) -> Gate:
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"gate on {self.metric} has no bound: give at_least or at_most")
        return self


class Robustness(Section):
    """Changes to test clips that show how robust the score is."""

    snr_db: list[Decibels] = Field(max_length=20)
    """Signal-to-noise ratios, in dB, of white noise added to the test clips."""
    babble_snr_db: list[Decibels] = Field([10.0], max_length=20)
    """Signal-to-noise ratios, in dB, of babble: four clips of other speakers at once."""
    gain_db: list[Decibels] = Field(max_length=20)
    """Gains applied to the test clips, in dB; values are clipped at full scale."""
    room: bool = True
    """In a small room, 4 × 3 × 2.5 m, with a reverberation time of 0.26 s (image method)."""
    telephone: bool
    """Band-limited to 300–3400 Hz, resampled to 8 kHz and back."""
    mp3: bool
    """Re-encoded as low-rate MP3 through libsndfile."""
    max_clips: int = Field(ge=0, le=10**9)
    """Maximum number of test clips per condition, drawn by seed; 0: no robustness study."""


class Evaluate(Section):
    bootstrap: int = Field(ge=100, le=100_000)
    """Number of bootstrap resamples, clustered by speaker."""
    confidence: float = Field(gt=0.5, lt=1)
    """Nominal coverage of every interval."""
    seed: Seed
    """Seed of the resamples, of the noise and of drawn clips."""
    calibration: Literal["temperature", "none"]
    """Both measure what a temperature for each network does, fitted on validation clips of all folds, without the fold's test speakers.
    temperature: the exported model applies it. none: it does not."""
    bins: int = Field(ge=2, le=100)
    """Bins of the reliability diagram."""
    examples: int = Field(ge=0, le=50)
    """Test clips in the report, half right and half wrong, with spectrogram, attention and sound."""
    robustness: Robustness
    gates: list[Gate]
    """Bounds on metrics; a broken one fails the stage."""
