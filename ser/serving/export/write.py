"""A trained model → a bundle that runs without torch: ONNX graphs, the preprocessing they need, and a model card."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ser import SerError
from ser.encoders.frozen import Chosen
from ser.encoders.pooled import STATISTICS
from ser.evaluation.result import Result
from ser.evaluation.sections import Temperature
from ser.model.linear import Linear
from ser.model.network import Network
from ser.params.corpora import SYNTHETIC_NOTICE, Source, Synthetic
from ser.params.export import Export
from ser.params.features import Copies
from ser.runtime.disk import written_whole
from ser.serving.bundle import CARD, ENCODER, FACTS, MODEL, POOLED, VERSION, Bundle, BundledEncoder, Member, Score, Typical, sealed
from ser.serving.export import linear_graph, network_graph
from ser.serving.export.card import card, licence
from ser.serving.export.encoders import LIMIT, candidates, measured, pack, why_not
from ser.serving.export.network_graph import to_onnx
from ser.serving.export.refit import refit
from ser.serving.unlike import measure
from ser.signal.clips import read
from ser.signal.heard import Heard
from ser.training.inference import Trained, describe, load_network

MEASURED = 2000
"""Most clips and copies that tell what is typical."""
SHARE = 99
"""Per cent of the training clips that lie within ``Typical``."""
BANDWIDTH = 0.9
"""Of the least bandwidth of these that a recording must have: codecs and converters cut off a little below half the sample rate, which
moves no answer, and a telephone far below."""
CLIPPED = 0.001
"""Share of values at full scale that is never worth a warning."""


def export(
    models: Path,
    folder: Path,
    source: Source,
    result: Result | None,
    settings: Export,
    encoder: Chosen | None = None,
    clips: Path | None = None,
    encoded: Path | None = None,
) -> Bundle:
    """Write the bundle of a corpus; the folder appears only when it is whole.

    Where the model cannot be exported, the folder holds facts and model card alone, which say why.

    Args:
        models: ``models/<corpus>``.
        folder: ``exports/<corpus>``.
        source: where the corpus comes from, for licence and notice.
        result: of ``metrics/corpora/<corpus>.json``; None if it was not evaluated.
        settings: section ``export``.
        encoder: the frozen encoder, where the model reads one.
        clips: ``data/clips/<corpus>``, which tell what is typical, and on some of which the exported encoder is held against the one of
            training; None: on none.
        encoded: ``data/encoded/<corpus>``, read with ``export.model: refit`` only.

    Raises:
        SerError: if the models are missing or the exported graph disagrees with them.
    """
    trained = describe(models)
    refused = _refused(trained, encoder)
    again = (clips, encoded) if settings.model == "refit" else None
    model, reads, attention = (b"", [], []) if refused else _graph(models, trained, again)
    typical = None if refused or clips is None else typical_of(clips, trained.preprocess.sample_rate, trained.features.copies)

    def facts(packed: BundledEncoder | None) -> Bundle:
        found = _facts(trained, source, result, model, reads, refused, packed)
        members = _refitted(result) if again and not refused else found.networks
        more = {"attention": attention, "made": settings.model, "networks": members, "worse": _worse(result), "typical": typical}
        return sealed(found.model_copy(update=more))

    with written_whole(folder) as partial:
        if model:
            (partial / MODEL).write_bytes(model)
        found = facts(None) if refused or encoder is None else _with_encoder(partial, encoder, settings, clips, facts)
        _write(partial, found)
        (partial / CARD).write_text(card(found, _parameters(trained)), encoding="utf-8")
    return found


def _refused(trained: Trained, encoder: Chosen | None) -> str:
    """Why the model cannot be exported; empty where it can."""
    if trained.model.kind == "svm":
        return "model.kind svm is a baseline that is not exported"
    if trained.encoder is None:
        return ""
    if encoder is None:
        raise SerError(f"export: the model reads the encoder {trained.encoder.name}, and none is given")
    reason = why_not(encoder)
    return f"of the encoder {trained.encoder.name}: {reason}" if reason else ""


def _graph(models: Path, trained: Trained, again: tuple[Path | None, Path | None] | None) -> tuple[bytes, list[str], list[str]]:
    """``model.onnx``, the names of its inputs, and the sides of the fusion of which it gives attention.

    With folders of clips and hidden states it holds one regression refitted on all of them.
    """
    cpu = torch.device("cpu")
    each = [load_network(models, trained, fold, seed, cpu) for fold in trained.folds for seed in trained.seeds]
    if trained.model.kind == "linear":
        assert trained.encoder is not None
        columns = STATISTICS * len(trained.encoder.layers) * trained.encoder.width
        regressions = [one for one in each if isinstance(one, Linear)]
        if again is not None:
            clips, encoded = again
            if clips is None or encoded is None:
                raise SerError("export.model: refit needs the clips and hidden states of the corpus, and none are given")
            regressions = [refit(regressions, trained, clips, encoded)]
        return linear_graph.to_onnx(regressions, columns), [POOLED], []
    if again is not None:
        raise SerError(f"export.model: refit fits a regression, and the model is a {trained.model.kind}; choose folds")
    networks = [one for one in each if isinstance(one, Network)]
    return to_onnx(networks), network_graph.inputs(networks[0]), network_graph.attended(networks[0])


def _with_encoder(
    folder: Path, encoder: Chosen, settings: Export, clips: Path | None, facts: Callable[[BundledEncoder | None], Bundle]
) -> Bundle:
    """Write ``encoder.onnx`` in the smallest form that is good enough; the facts of the bundle with it."""
    for precision in candidates(settings, clips is not None):
        packed = pack(encoder, precision)
        (folder / ENCODER).write_bytes(packed.model)
        found = facts(packed.facts)
        if clips is None:
            continue
        _write(folder, found)
        parity = measured(folder, packed, clips)
        found = facts(packed.facts.model_copy(update={"parity": parity}))
        if parity.probabilities <= LIMIT:
            break
    return found


def _write(folder: Path, facts: Bundle) -> None:
    (folder / FACTS).write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _facts(
    trained: Trained, source: Source, result: Result | None, model: bytes, reads: list[str], why_not: str, packed: BundledEncoder | None
) -> Bundle:
    members = [
        Member(fold=fold, seed=seed, temperature=_temperature(result, fold, seed)) for fold in trained.folds for seed in trained.seeds
    ]
    return Bundle(
        version=VERSION,
        corpus=trained.corpus,
        classes=trained.classes,
        kind="linear" if trained.model.kind == "linear" else "network",
        networks=[] if why_not else members,
        not_exported=why_not,
        reads=reads,
        encoder=packed,
        preprocess=trained.preprocess,
        features=trained.features,
        max_frames=trained.max_frames,
        notice=SYNTHETIC_NOTICE if isinstance(source, Synthetic) else "",
        licence=licence(trained.corpus, source),
        edition=(result.edition or "") if result else "",
        protocol=result.protocol if result else "",
        speaker_independent=result.speaker_independent if result else None,
        score=_score(result),
        model_sha256=hashlib.sha256(model).hexdigest() if model else "",
    )


def _worse(result: Result | None) -> dict[str, float]:
    return {one.condition: one.ua for one in result.robustness.conditions} if result and result.robustness else {}


def _refitted(result: Result | None) -> list[Member]:
    """The one member of a refitted bundle. No clip is left to calibrate it on; a temperature is the geometric mean of the folds'."""
    each = [one.temperature for one in _temperatures(result) if one.temperature is not None]
    return [Member(fold=None, seed=0, temperature=round(float(np.exp(np.mean(np.log(each)))), 4) if each else None)]


def typical_of(clips: Path, sample_rate: int, copies: Copies | None = None) -> Typical:
    """What the clips of a store have in common, or, where a model has heard copies of them too, clips and copies.

    Of more than ``MEASURED`` of them, as many are measured, evenly spaced: a copy takes as long to make as in the features stage.

    Args:
        clips: ``data/clips/<corpus>``.
        sample_rate: of the clips, in Hz.
        copies: section ``features.copies``.
    """
    every = Heard.every(clips, read(clips, sample_rate).table, sample_rate, copies)
    rows = np.unique(np.linspace(0, len(every) - 1, min(len(every), MEASURED)).round().astype(np.int64))
    some = replace(every, starts=every.starts[rows], lengths=every.lengths[rows], numbers=every.numbers[rows])
    signals = tqdm(some.signals(), "what is typical", len(rows), unit="clip", leave=False, delay=2)
    each = [measure(signal, sample_rate) for signal in signals]
    low, high = 100 - SHARE, SHARE
    return Typical(
        clips=len(each),
        bandwidth_hz=round(BANDWIDTH * float(np.percentile([one.bandwidth_hz for one in each], low)), 1),
        range_db=round(float(np.percentile([one.range_db for one in each], low)), 2),
        clipped=round(max(CLIPPED, float(np.percentile([one.clipped for one in each], high))), 6),
    )


def _temperature(result: Result | None, fold: int, seed: int) -> float | None:
    return next((one.temperature for one in _temperatures(result) if (one.fold, one.seed) == (fold, seed)), None)


def _temperatures(result: Result | None) -> list[Temperature]:
    """Those that the model is to apply."""
    return result.calibration.temperatures if result and result.calibration.method == "temperature" else []


def _score(result: Result | None) -> Score | None:
    if result is None:
        return None
    limits = result.ci.limits["ua"]
    return Score.model_validate(
        {
            **{name: result.scores[name] for name in ("ua", "wa", "macro_f1")},
            "ua_interval": list(limits) if limits else None,
            "confidence": result.ci.confidence,
            "clips": result.n,
            "chance_ua": result.baselines.chance.ua,
        }
    )


def _parameters(trained: Trained) -> int:
    """Weights of one network, of a regression those of all columns; 0 for what is not exported."""
    from ser.training.inference import new_network

    if trained.model.kind == "network":
        return sum(weight.numel() for weight in new_network(trained).parameters())
    if trained.model.kind == "linear" and trained.encoder is not None:
        return (STATISTICS * len(trained.encoder.layers) * trained.encoder.width + 1) * len(trained.classes)
    return 0
