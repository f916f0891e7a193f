"""The sections of a metrics file, ``metrics/corpora/<corpus>.json``. The whole file:
``ser.evaluation.result``.

Field names are the keys of the file, field order is their order. Numbers are rounded when a section is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ser.evaluation.numbers import ByMetric, Limits, LostShare, MaybeNumber, MaybeShare, Number, Scores, Share
from ser.params.base import Section


class Intervals(ByMetric):
    """Intervals of the scores by bootstrap over speakers; None with a single speaker."""

    by_metric: ClassVar[str] = "limits"
    limits: Mapping[str, Limits | None]
    confidence: float
    speakers: int
    resamples: int


class Baseline(Section):
    """Scores of a baseline that does not listen."""

    wa: Share
    ua: Share


class Baselines(Section):
    """See ``metrics.baselines``."""

    majority: Baseline
    chance: Baseline


class PerClass(Section):
    """Scores of one emotion over all seeds; ``support`` is its clips in one seed."""

    recall: MaybeShare
    precision: Share
    f1: MaybeShare
    support: int


class Confusion(Section):
    """Rows are actual emotions, columns predicted ones; all seeds together.

    ``normalised`` has shares of each row.
    """

    classes: list[str]
    counts: list[list[Annotated[int, Field(ge=0)]]]
    normalised: list[list[MaybeShare]]

    @model_validator(mode="after")
    def square(self) -> Confusion:
        """Each class has a row and a column."""
        for name, rows in (("counts", self.counts), ("normalised", self.normalised)):
            if [len(row) for row in rows] != [len(self.classes)] * len(self.classes):
                raise ValueError(f"{name} has not {len(self.classes)} rows of {len(self.classes)} numbers")
        return self


class Fold(ByMetric):
    """Scores of one fold, mean over seeds; ``classes`` is the number of emotions that occur in it."""

    fold: int
    n: int
    scores: Scores
    classes: int


class Folds(Section):
    """Scores by fold, with their mean and sample standard deviation; ``sd`` is None for a single fold."""

    mean: Scores
    sd: Scores
    each: list[Fold]


class Seed(ByMetric):
    """Scores of one seed, pooled over folds."""

    seed: int
    scores: Scores


class LimitsByMetric(ByMetric):
    """An interval for each metric; None with a single speaker."""

    by_metric: ClassVar[str] = "limits"
    limits: Mapping[str, Limits | None]


class Ensemble(ByMetric):
    """Scores of the seeds' averaged probabilities."""

    scores: Scores
    ci: LimitsByMetric


class Seeds(Section):
    """Scores by seed, with their mean and sample standard deviation; ``ensemble`` is None for a single seed."""

    count: int
    mean: Scores
    sd: Scores
    each: list[Seed]
    ensemble: Ensemble | None


class SpeakerAdapted(ByMetric):
    """A protocol of its own: the same networks, centred on each test speaker's unlabelled clips
    (``ser.evaluation.adaptation``).
    """

    protocol: str
    scores: Scores
    ci: LimitsByMetric
    ensemble: Ensemble | None
    clips_per_speaker: Number
    """Median."""


class ProbabilityScores(Section):
    """How well probabilities match outcomes; lower is better (``ser.evaluation.calibration``)."""

    log_loss: Number
    brier: Number
    ece: Number


class Temperature(Section):
    """Temperature of one network and the clips that it was fitted on; None where there are none."""

    fold: int
    seed: int
    temperature: MaybeNumber
    valid_clips: int


class Calibration(Section):
    """Probabilities before and after temperature scaling; the exported model is scaled where ``method`` is temperature."""

    method: str
    before: ProbabilityScores
    after: ProbabilityScores
    temperatures: list[Temperature]


class Group(Section):
    """Scores of one group of clips; ``unit`` is what the interval resamples."""

    group: str
    n: int
    speakers: int
    wa: Share
    ua: Share
    ci: Limits | None
    unit: Literal["speaker", "clip"]


class Slice(Section):
    """Groups of clips by one property (``ser.evaluation.slices``).

    All but ``groups`` is None where nothing can be compared.
    """

    groups: list[Group]
    worst: MaybeShare
    gap: MaybeShare
    gap_ci: Limits | None
    between: list[str] | None
    gap_classes: int | None

    @model_validator(mode="after")
    def a_gap_is_between_two(self) -> Slice:
        """Where a gap is named, so are the two groups that it lies between."""
        if (self.gap is None) != (self.between is None) or (self.between is not None and len(self.between) != 2):
            raise ValueError("gap and between do not belong together")
        return self


class Mistake(Section):
    """A clip whose answer is not its label; ``confidence`` is the probability of the answer, ``p_actual``
    that of the label.
    """

    clip: str
    speaker: str
    actual: str
    predicted: str
    confidence: Share
    p_actual: Share


class UnderCondition(Section):
    """Scores of test clips under one condition (``ser.evaluation.robustness``); ``lost`` is clean UA − UA."""

    condition: str
    kind: str
    value: MaybeNumber
    wa: Share
    ua: Share
    ci: Limits | None
    lost: LostShare
    lost_ci: Limits | None


class Robustness(Section):
    """What is left of UA when recordings get worse; ``n`` clips under each condition."""

    n: int
    clean_ua: Share
    worst_ua: Share
    conditions: list[UnderCondition]


class Removed(Section):
    """What voice activity detection did to some clips; ``removed`` is a share of ``source_seconds``."""

    clips: int
    source_seconds: Number
    removed: Share
    no_speech: int


class Vad(Section):
    """What voice activity detection took away."""

    method: str
    keep: str
    all: Removed
    by_emotion: dict[str, Removed]
    by_channel: dict[str, Removed]
