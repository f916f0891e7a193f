"""The page a person would rather look at than JSON: all results in one self-contained HTML file, without network or scripts."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ser import SerError
from ser.evaluation.examples import Example
from ser.report import plots

PUBLISHED = Path(__file__).with_name("published_results.csv")
"""Figures of others, each with its protocol; wa and ua in per cent, empty where not published."""

NEEDED = (
    "wa",
    "ua",
    "macro_f1",
    "n",
    "protocol",
    "ci",
    "baselines",
    "per_class",
    "confusion",
    "folds",
    "seeds",
    "knowing_speakers",
    "calibration",
    "slices",
)


@dataclass(frozen=True)
class Result:
    """What is known of one corpus.

    Attributes:
        name: key of the corpus in params.yaml.
        metrics: content of ``metrics/corpora/<name>.json``.
        tables: ``metrics/plots/<name>/*.csv`` by name.
        examples: clips to look into.
        rejected: ``rejected.csv``: path, reason, detail; empty where it is not at hand.
        committed: whether it comes from the repository and not from this run.
        audio: whether the examples may be listened to; the licence of a corpus decides.
    """

    name: str
    metrics: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    examples: list[Example] = field(default_factory=list)
    rejected: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path", "reason", "detail"]))
    committed: bool = False
    audio: bool = False


def render(results: list[Result], missing: list[str], parameters: str, circumstances: dict[str, Any]) -> str:
    """The page.

    Args:
        results: corpora in the order of the page.
        missing: corpora of params.yaml without a result, which are named as such.
        parameters: text of params.yaml.
        circumstances: ``revision, cpu, cores, gpu (list), python, libraries (name → version)``.

    Raises:
        SerError: if a metrics file lacks something; it names the corpus and the key.
    """
    for result in results:
        for key in NEEDED:
            if key not in result.metrics:
                raise SerError(f"metrics/corpora/{result.name}.json has no {key!r}: run `dvc repro evaluate@{result.name}`")
    published = pd.read_csv(PUBLISHED, keep_default_na=True)
    others = {name: part.to_dict("records") for name, part in published.groupby("corpus", sort=False)}
    environment = Environment(
        loader=PackageLoader("ser.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, interval=interval, number=number)
    template = environment.get_template("report.html")
    return template.render(
        results=[(result, _pictures(result), _examples(result), others.get(result.name, [])) for result in results],
        missing=missing,
        overview=Markup(_overview(results, others)) if results else "",
        parameters=parameters,
        circumstances=circumstances,
    )


def percent(value: float | None, digits: int = 1) -> str:
    """0.523 → 52.3; what is not known is a dash."""
    return "–" if value is None or value != value else f"{100 * value:.{digits}f}"


def interval(limits: list[float] | None, digits: int = 1) -> str:
    """[0.5, 0.6] → 50.0–60.0, [−0.1, 0.2] → −10.0 to 20.0; empty where there is none."""
    if not limits:
        return ""
    low, high = (f"{100 * limit:.{digits}f}".replace("-", "−") for limit in limits)
    return f"{low} to {high}" if "−" in low else f"{low}–{high}"


def number(value: float | None, digits: int = 3) -> str:
    """0.12345 → 0.123; what is not known is a dash."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def _overview(results: list[Result], others: dict[Any, list[dict[Any, Any]]]) -> str:
    rows = []
    for result in results:
        figures = [(row["ua"] / 100, row["speaker_independent"] == "yes") for row in others.get(result.name, []) if row["ua"] == row["ua"]]
        ci, chance = result.metrics["ci"]["ua"], result.metrics["baselines"]["chance"]["ua"]
        rows.append({"name": result.name, "ua": result.metrics["ua"], "ci": ci, "chance": chance, "published": figures})
    return plots.overview(rows)


def _pictures(result: Result) -> dict[str, Markup]:
    """The pictures of a corpus by name; one whose data is not there is left out."""
    values, tables, chance = result.metrics, result.tables, result.metrics["baselines"]["chance"]["ua"]
    matrix = values["confusion"]
    drawn = {
        "confusion": plots.confusion(matrix["counts"], matrix["normalised"], matrix["classes"]),
        "folds": plots.folds(values["folds"]["each"], chance),
        "groups": plots.groups(values["slices"], values["ua"]),
        "speakers": plots.speakers(values["slices"]["speaker"]["groups"], values["ua"]),
    }
    if "reliability" in tables:
        drawn["reliability"] = plots.reliability(tables["reliability"])
    if "loss" in tables and len(tables["loss"]) > 1:
        drawn["losses"], drawn["validation"] = plots.losses(tables["loss"]), plots.validation(tables["loss"])
    if values.get("robustness"):
        drawn["noise"], drawn["conditions"] = plots.noise(values["robustness"], chance), plots.conditions(values["robustness"])
    if values.get("vad"):
        drawn["removed"] = plots.removed({name: share["removed"] for name, share in values["vad"]["by_emotion"].items()})
    # Drawn from numbers and escaped names by matplotlib: safe to stand in the page as it is.
    return {name: Markup(picture) for name, picture in drawn.items()}


def _examples(result: Result) -> list[dict[str, Any]]:
    return [
        {
            **example.about,
            "right": example.about["actual"] == example.about["predicted"],
            "picture": Markup(plots.attention(example)),
            "sound": _sound(example) if result.audio else None,
        }
        for example in result.examples
    ]


def _sound(example: Example) -> str:
    """The clip as a data address: FLAC, which every browser of the last years plays."""
    coded = io.BytesIO()
    soundfile.write(coded, example.audio, example.sample_rate, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(coded.getvalue()).decode("ascii")
