"""The result of a corpus: the typed content of ``metrics/corpora/<corpus>.json``.

The evaluate stage writes a ``Result``. Gates, report, export and benchmarks read it with ``read`` or
``parse``, which refuse a file of another version with one clear message. Field names are the keys of the
file, field order is their order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError, model_serializer, model_validator
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from ser import SerError
from ser.evaluation import metrics
from ser.evaluation.encoder_section import EncoderUsed
from ser.evaluation.numbers import ByMetric, Json, Number, Scores, Share, spread_out
from ser.evaluation.sections import (
    Baselines,
    Calibration,
    Confusion,
    Folds,
    Intervals,
    Mistake,
    PerClass,
    Robustness,
    Seeds,
    Slice,
    SpeakerAdapted,
    Vad,
)
from ser.params.base import Section
from ser.runtime.files import regular
from ser.runtime.text import percent, run_first

MOST = 16 << 20
"""Bytes of a metrics file that are read; the longest has a hundredth."""
FEWEST = 20
"""Test clips below which a score supports no conclusion: even all right leaves 14 % of errors possible at 95 % (the rule of three)."""

WIDEST = 0.5
"""Width of the headline's interval, as a share, beyond which the score supports no conclusion."""


class ResultError(SerError):
    """A metrics file that is missing or cannot be used; the message names the file, the key and the command
    to run.
    """


class Measured(ByMetric):
    """The part of the file that follows from saved predictions alone.

    ``scores`` are means over seeds, each pooled over folds. The file repeats the headline's interval as
    ``ua_low`` and ``ua_high``, since ``dvc exp show`` leaves lists out.
    """

    scores: Scores
    n: int
    """Test clips of each seed."""
    protocol: str
    speaker_independent: bool
    leaks: dict[str, Share]
    """Share of test clips whose ``speaker``, ``twin`` or ``content`` is also in training or validation."""
    ci: Intervals
    weighted_f1: Number
    baselines: Baselines
    classes: list[str]
    per_class: dict[str, PerClass]
    confusion: Confusion
    folds: Folds
    seeds: Seeds
    knowing_speakers: SpeakerAdapted | None
    """None where test speakers are not kept apart, or have too few clips."""
    calibration: Calibration
    slices: dict[str, Slice]
    mistakes: list[Mistake]

    @model_validator(mode="before")
    @classmethod
    def drop_the_repeated_interval(cls, values: object) -> object:
        """``ua_low`` and ``ua_high`` are written again from ``ci``."""
        return {key: value for key, value in values.items() if key not in _ends()} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def speakers_are_there(self) -> Measured:
        """Every clip has a speaker, so there is always this slice."""
        if "speaker" not in self.slices:
            raise ValueError("slices has no 'speaker'")
        return self

    @model_serializer(mode="wrap")
    def spread(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Put the scores first and the headline's interval behind its score."""
        fields: dict[str, object] = handler(self)
        written: dict[str, object] = {}
        for key, value in spread_out(fields, self.by_metric).items():
            written[key] = value
            if key == metrics.HEADLINE:
                written |= dict(zip(_ends(), self.ci.limits[key] or (None, None), strict=True))
        return written

    @property
    def headline(self) -> float:
        """Score of the headline metric, mean over seeds; NaN where it is not defined."""
        value = self.scores[metrics.HEADLINE]
        return math.nan if value is None else value

    def plain(self) -> dict[str, Json]:
        """The content of the file as plain values, in the file's order."""
        return self.model_dump(mode="json", exclude_unset=True)


class Result(Measured):
    """The whole file: what was measured, and the facts of the run that it holds for.

    Facts with a default may be absent from a file, e.g. ``notice`` for recorded speech.
    """

    robustness: Robustness | None = None
    edition: str | None = None
    label_edition: str | None = None
    files_found: int | None = None
    kept: int | None = None
    rejected: dict[str, int] | None = None
    vad: Vad | None = None
    normalise: str
    encoder: EncoderUsed | None = None
    """The frozen encoder that the networks read; absent where they read none."""
    fast: bool
    examples: int | None = None
    parameters: list[str] | None = None
    """The parameters that made the networks, as ``model.fusion = …``; a list, which DVC does not count among
    the metrics.
    """
    notice: str | None = None
    """What must stand beside the numbers wherever they appear."""

    @classmethod
    def of(cls, measured: Measured, facts: Mapping[str, object]) -> Result:
        """Join what was measured with the facts of the run, by key; a fact that does not hold is left out,
        e.g. ``notice``.
        """
        return cls.model_validate({**dict(measured), **facts})

    def caveat(self) -> str | None:
        """Why the headline score cannot be taken at face value; None if there is no such reason."""
        limits, chance = self.ci.limits[metrics.HEADLINE], self.baselines.chance.ua
        if self.n < FEWEST:
            return f"{self.n} clips are too few for any conclusion"
        if limits is None or chance is None:
            return None
        if (width := limits[1] - limits[0]) > WIDEST:
            return f"the interval is {percent(width, 0)} points wide: too few clips or speakers for any conclusion"
        if limits[1] < chance:
            return "below chance"
        return "not distinguishable from chance" if limits[0] <= chance else None

    def line(self) -> str:
        """What a person wants to know first, in one line: headline, WA, chance, clips, protocol, notice."""
        main, limits = metrics.listed()[0], self.ci.limits[metrics.HEADLINE]
        interval = " [{}, {}]".format(*(f"{main.text(limit)}{main.unit.strip()}" for limit in limits)) if limits else ""
        scores = f"{main.label} {main.text(self.headline)}{main.unit.strip()}{interval}, WA {percent(self.scores['wa'])}%"
        chance = percent(self.baselines.chance.ua)
        notice = f"; {self.notice}" if self.notice else ""
        caveat = f"; {said}" if (said := self.caveat()) else ""
        return f"{scores}, chance {chance}%; {self.n} clips, protocol {self.protocol}{caveat}{notice}"

    def text(self) -> str:
        """The file's text; the same result gives the same bytes."""
        return json.dumps(self.plain(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def parameter_lines(sections: Mapping[str, Section]) -> list[str]:
    """Sections of parameters by name as one line per value: ``model.fusion = "concat"``."""
    lines = []
    for name, section in sections.items():
        for key in type(section).model_fields:
            value, path = getattr(section, key), f"{name}.{key}"
            lines += parameter_lines({path: value}) if isinstance(value, Section) else [f"{path} = {json.dumps(value)}"]
    return lines


def read(path: str | Path) -> Result:
    """The result in a metrics file, which is named after its corpus.

    Raises:
        ResultError: if the file is missing, cannot be read, or is not of this version.
    """
    path = Path(path)
    return parse(content(path), str(path), path.stem)


def content(path: Path) -> str:
    """Text of a metrics file, which is named after its corpus.

    Raises:
        ResultError: if the file is missing, is none, or is no text.
    """
    again = f"run `dvc repro evaluate@{path.stem}` to write it anew"
    try:
        with regular(path) as file:
            return file.read(MOST).decode("utf-8")
    except UnicodeDecodeError:
        raise ResultError(f"{path} is not text: {again}") from None
    except FileNotFoundError:
        raise ResultError(run_first(path, f"evaluate@{path.stem}")) from None
    except OSError as error:
        raise ResultError(f"{path} cannot be read, {error.strerror}: {again}") from None


def parse(text: str, where: str, corpus: str) -> Result:
    """The result in the text of a metrics file.

    Args:
        text: content of the file.
        where: what to call it in messages, e.g. with its revision.
        corpus: name of its corpus.

    Raises:
        ResultError: if the text is not a result of this version; it names the first faulty key.
    """
    try:
        return Result.model_validate_json(text)
    except ValidationError as error:
        fault = _fault(error.errors(include_url=False)[0])
        raise ResultError(f"{where} {fault}: run `dvc repro evaluate@{corpus}` to write it anew") from None


def _fault(detail: ErrorDetails) -> str:
    kind, key = detail["type"], ".".join(map(str, detail["loc"]))
    if kind == "missing_metric":
        return f"has no {'.'.join(filter(None, [key, detail['ctx']['key']]))!r}"
    if kind == "missing":
        return f"has no {key!r}"
    if kind == "extra_forbidden":
        return f"has the unknown key {key!r}"
    if kind == "json_invalid":
        return f"is not valid JSON ({detail['msg']})"
    return f"cannot be used ({f'{key}: ' if key else ''}{detail['msg'].removeprefix('Value error, ')})"


def _ends() -> tuple[str, str]:
    return f"{metrics.HEADLINE}_low", f"{metrics.HEADLINE}_high"
