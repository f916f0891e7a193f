"""The report page: all results in one self-contained HTML file, without network access or scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ser.evaluation import metrics
from ser.evaluation.examples import Example
from ser.evaluation.result import Result
from ser.report import layers, plots
from ser.runtime.signals import deferred
from ser.runtime.text import number, percent

PUBLISHED_RESULTS = Path(__file__).with_name("published_results.csv")
"""Published scores of other systems, each with its protocol; wa and ua in per cent, empty if not published.
"""

NONE_REJECTED = pd.DataFrame(columns=["path", "reason", "detail"])
"""``rejected.csv`` without rows."""


@dataclass(frozen=True)
class Corpus:
    """What the page shows of one corpus.

    Attributes:
        name: key of the corpus in params.yaml.
        result: its metrics file.
        tables: those of ``metrics/plots/<name>/`` that are drawn, ``loss`` and ``reliability``, by name.
        examples: clips to look into.
        rejected: ``rejected.csv``: path, reason, detail; empty where it is not available.
        committed: whether the result comes from the repository and not from this run.
        audio: whether the page may embed the sound of the examples; the licence of a corpus decides.
    """

    name: str
    result: Result
    tables: dict[str, pd.DataFrame]
    examples: list[Example] = field(default_factory=list)
    rejected: pd.DataFrame = field(default_factory=NONE_REJECTED.copy)
    committed: bool = False
    audio: bool = False


def render(corpora: list[Corpus], missing: list[str], parameters: str) -> str:
    """The page as HTML. It names neither revision nor machine: the same results give the same bytes wherever they are made.

    Args:
        corpora: in the order of the page.
        missing: corpora of params.yaml without a result; the page lists them as not run.
        parameters: text of params.yaml.
    """
    published = pd.read_csv(PUBLISHED_RESULTS, keep_default_na=True)
    others = {str(name): part for name, part in published.groupby("corpus", sort=False)}
    environment = Environment(
        loader=PackageLoader("ser.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, interval=interval, number=number)
    template = environment.get_template("report.html")
    return template.render(
        corpora=[(corpus, _pictures(corpus), _examples(corpus), _records(others.get(corpus.name))) for corpus in corpora],
        metrics=metrics.listed(),
        missing=missing,
        overview=Markup(plots.overview([_overview(corpus, others.get(corpus.name)) for corpus in corpora])) if corpora else "",
        parameters=parameters,
    )


def interval(limits: tuple[float, float] | None, text: Callable[[float], str] = percent) -> str:
    """(0.5, 0.6) → 50.0–60.0, (−0.1, 0.2) → −10.0 to 20.0; empty without an interval."""
    if not limits:
        return ""
    low, high = (text(limit).replace("-", "−") for limit in limits)
    return f"{low} to {high}" if "−" in low else f"{low}–{high}"


def _records(published: pd.DataFrame | None) -> list[dict[str, Any]]:
    return [] if published is None else [{str(key): value for key, value in row.items()} for row in published.to_dict("records")]


def _overview(corpus: Corpus, published: pd.DataFrame | None) -> plots.Overview:
    others = published[published["ua"].notna()] if published is not None else pd.DataFrame(columns=["ua", "speaker_independent"])
    return plots.Overview(
        name=corpus.name,
        ua=corpus.result.headline,
        ci=corpus.result.ci.limits[metrics.HEADLINE],
        chance=corpus.result.baselines.chance.ua,
        published=[(ua / 100, independent == "yes") for ua, independent in zip(others["ua"], others["speaker_independent"], strict=True)],
    )


def _pictures(corpus: Corpus) -> dict[str, Markup]:
    """The pictures of a corpus by name; those without data are left out."""
    result, tables, chance = corpus.result, corpus.tables, corpus.result.baselines.chance.ua
    drawn = {
        "confusion": plots.confusion(result.confusion.counts, result.confusion.normalised, result.confusion.classes),
        "folds": plots.folds(result.folds.each, chance),
        "groups": plots.groups(result.slices, result.headline),
        "speakers": plots.speakers(result.slices["speaker"].groups, result.headline),
    }
    if "reliability" in tables:
        drawn["reliability"] = plots.reliability(tables["reliability"])
    if "loss" in tables and len(tables["loss"]) > 1:
        drawn["losses"], drawn["validation"] = plots.losses(tables["loss"]), plots.validation(tables["loss"])
    if result.robustness:
        drawn["noise"], drawn["conditions"] = plots.noise(result.robustness, chance), plots.conditions(result.robustness)
    if result.encoder:
        for name, rows, what in (
            ("layers_read", layers.chosen(result.encoder), "Layers of the encoder that the regression reads, by fold"),
            ("layers_weighed", layers.weighed(result.encoder), "Share of each layer of the encoder in the network's branch, by fold"),
        ):
            if rows:
                drawn[name] = layers.picture(result.encoder, rows, name, what)
    if result.vad:
        drawn["removed"] = plots.removed({name: part.removed for name, part in result.vad.by_emotion.items()})
    # matplotlib draws them from numbers and escapes names, so they need no further escaping.
    return {name: Markup(picture) for name, picture in drawn.items()}


def _examples(corpus: Corpus) -> list[dict[str, Any]]:
    return [
        {
            **example.about,
            "right": example.about["actual"] == example.about["predicted"],
            "picture": Markup(plots.attention(example)),
            "sound": _sound(example) if corpus.audio else None,
        }
        for example in corpus.examples
    ]


def _sound(example: Example) -> str:
    """The clip as a data URL with FLAC, which current browsers play."""
    coded = io.BytesIO()
    with deferred():
        soundfile.write(coded, example.audio, example.sample_rate, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(coded.getvalue()).decode("ascii")
