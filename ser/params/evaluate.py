"""``evaluate``: intervals, slices, robustness and gates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ser.params.base import Section


class Gate(Section):
    """A bound that fails the stage when it is broken."""

    metric: str = Field(min_length=1)
    """Dotted path into metrics/corpora/<corpus>.json, e.g. ``ua``, ``slices.gender.gap`` or ``ci.ua.0`` (the lower limit)."""
    corpus: str | None = None
    """Only for this corpus; null: for all."""
    at_least: float | None = None
    """Broken when the number is smaller."""
    at_most: float | None = None
    """Broken when the number is greater."""

    @model_validator(mode="after")
    def has_a_bound(self) -> Gate:
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"gate on {self.metric} has no bound: give at_least or at_most")
        return self


class Robustness(Section):
    """What is done to test clips to see how much of the score is left."""

    snr_db: list[float]
    """White noise added to the test clips at these signal-to-noise ratios."""
    gain_db: list[float]
    """Test clips made louder or softer by these gains (with clipping at full scale)."""
    telephone: bool
    """300–3400 Hz band, 8 kHz, and back."""
    mp3: bool
    """Re-encoded as low-rate MP3 through libsndfile."""
    max_clips: int = Field(ge=0)
    """At most this many test clips per condition, drawn by seed; 0 switches the study off."""


class Evaluate(Section):
    bootstrap: int = Field(ge=100, le=100_000)
    """Resamples of the interval, clustered by speaker."""
    confidence: float = Field(gt=0.5, lt=1)
    """Nominal coverage of every interval."""
    seed: int = Field(ge=0)
    """Seed of resamples, of noise and of the clips that are drawn."""
    calibration: Literal["temperature", "none"]
    """Temperature fitted on validation clips."""
    bins: int = Field(ge=2, le=100)
    """Bins of the reliability diagram."""
    examples: int = Field(ge=0, le=50)
    """Test clips, half right and half wrong, whose spectrogram, attention and sound the report shows."""
    robustness: Robustness
    gates: list[Gate]
    """Bounds; a broken one fails the stage."""
