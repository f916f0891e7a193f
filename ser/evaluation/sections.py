"""The sections of a metrics file, ``metrics/corpora/<corpus>.json``. The whole file:
``ser.evaluation.result``.

Field names are the keys of the file, field order is their order. Numbers are rounded when a section is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, Strict, model_serializer, model_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from ser.evaluation import metrics
from ser.params.base import Section

DIGITS = 4
"""Decimal places of every number in the file."""

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""A plain value, as JSON has them."""


def stored(value: object) -> object:
    """A number as it is stored: ``DIGITS`` decimal places, NaN as None, −0 as 0.

    Other values stay as they are.
    """
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else round(float(value), DIGITS) + 0.0


Number = Annotated[float, BeforeValidator(stored)]
MaybeNumber = Annotated[float | None, BeforeValidator(stored)]
"""None where the value is not defined, e.g. the recall of an emotion without clips."""
Share = Annotated[Number, Field(ge=0, le=1)]
"""A number from 0 to 1."""
MaybeShare = Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(stored)]
"""The same; None where it is not defined."""
LostShare = Annotated[Number, Field(ge=-1, le=1)]
"""Difference of two shares."""
Limits = Annotated[tuple[Number, Number], Strict(False)]
"""Lower and upper limit of an interval."""
Scores = Mapping[str, MaybeNumber]
"""Score by name of the metric."""


def spread_out(fields: dict[str, object], gathered: str) -> dict[str, object]:
    """``fields`` with the entries of the dict ``gathered`` in its place."""
    written: dict[str, object] = {}
    for key, value in fields.items():
        written |= value if key == gathered and isinstance(value, dict) else {key: value}
    return written


class ByMetric(Section):
    """A section of the file in which each metric has an entry of its own among the other keys.

    ``{"fold": 1, "wa": 0.8, "ua": 0.7, "macro_f1": 0.7}`` is read as ``fold`` and ``scores``, a dict by
    metric, and written back in the place of that field. The metrics are those of ``metrics.METRICS``.
    """

    by_metric: ClassVar[str] = "scores"
    """Field that holds the entries."""

    @model_validator(mode="before")
    @classmethod
    def gather(cls, values: object) -> object:
        """Move the metrics' entries into their field."""
        if not isinstance(values, dict) or cls.by_metric in values:
            return values
        names = [metric.name for metric in metrics.METRICS]
        for name in names:
            if name in cls.model_fields:
                raise ValueError(f"metrics.METRICS: {name!r} is already a key of the file; choose another name")
            if name not in values:
                raise PydanticCustomError("missing_metric", "no entry for the metric {key}", {"key": name})
        others = {key: value for key, value in values.items() if key not in names}
        return {**others, cls.by_metric: {name: values[name] for name in names}}

    @model_validator(mode="after")
    def in_range(self) -> Self:
        """A score, or a limit of its interval, outside the metric's range is an error of its formula, or of the file."""
        for metric in metrics.METRICS:
            entry = getattr(self, self.by_metric)[metric.name]
            for value in entry if isinstance(entry, tuple) else [entry]:
                if isinstance(value, float) and not metric.low <= value <= metric.high:
                    raise ValueError(f"{metric.name} is {value:g}, outside its range {metric.low:g} to {metric.high:g}")
        return self

    @model_serializer(mode="wrap")
    def spread(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Put the metrics' entries where their field stands."""
        fields: dict[str, object] = handler(self)
        return spread_out(fields, self.by_metric)


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
    worst: MaybeNumber
    gap: MaybeNumber
    gap_ci: Limits | None
    between: list[str] | None
    gap_classes: int | None


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
