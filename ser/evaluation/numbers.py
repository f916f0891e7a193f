"""The numbers of a metrics file: how they are rounded, which values they may have, and those that each metric has.

A file may come from a merge or another machine, and a report draws it: what cannot be drawn is refused here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_serializer, model_validator
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


Bounded = Annotated[float, Field(ge=-1e12, le=1e12)]
"""No score, loss or duration is larger."""
Number = Annotated[Bounded, BeforeValidator(stored)]
MaybeNumber = Annotated[Bounded | None, BeforeValidator(stored)]
"""None where the value is not defined, e.g. the recall of an emotion without clips."""
Share = Annotated[Number, Field(ge=0, le=1)]
"""A number from 0 to 1."""
MaybeShare = Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(stored)]
"""The same; None where it is not defined."""
LostShare = Annotated[Number, Field(ge=-1, le=1)]
"""Difference of two shares."""
Limits = Annotated[tuple[Number, Number], Strict(False)]
"""Lower and upper limit of an interval."""


def of_each_metric(values: Mapping[str, float | None]) -> Mapping[str, float | None]:
    """The values, if every metric has one."""
    for metric in metrics.METRICS:
        if metric.name not in values:
            raise PydanticCustomError("missing_metric", "no entry for the metric {key}", {"key": metric.name})
    return values


Scores = Annotated[Mapping[str, MaybeNumber], AfterValidator(of_each_metric)]
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
