"""How much the score drops on degraded recordings: noise, babble, level, room, telephone, lossy coding.

The clips are perturbed as they are stored (after VAD), go through the same features (openSMILE's functionals and the frozen encoder too,
where the model reads them) and networks, and are scored beside the same clips untouched. The networks come as a callable, so that nothing
here knows torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ser.encoders.frozen import Chosen
from ser.evaluation import intervals, metrics
from ser.evaluation.degradation import Condition, conditions, perturb, voices_for
from ser.evaluation.predictions import out_of_fold
from ser.params.evaluate import Evaluate
from ser.params.features import Features
from ser.params.runtime import Runtime
from ser.runtime.workers import spread
from ser.signal.clips import read_table, to_float
from ser.views.extraction import clip_features
from ser.views.features import Views, pack

CHUNK = 32
"""Clips of a task; small enough to share out a few hundred among many cores."""
Place = tuple[int, int]
"""First sample of a clip in the store, and its samples."""
Predict = Callable[[Views, pd.DataFrame], pd.DataFrame]
"""Frames of some clips and their rows of clips.csv → predictions of their test part, as ``ser.evaluation.predictions`` describes them."""
PredictFolds = Callable[[Views, pd.DataFrame, pd.DataFrame], pd.DataFrame]
"""The same for the rows of a fold table, which come third."""


def chosen_clips(test: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most ``most`` of the rows ``test`` (numbers, shape (clips,)), drawn without replacement, in their order."""
    if len(test) <= most:
        return test
    return np.sort(np.random.default_rng(seed).choice(test, most, replace=False))


def measure(
    clips_folder: str | Path,
    assignment: pd.DataFrame,
    settings: Evaluate,
    extraction: Features,
    sample_rate: int,
    runtime: Runtime,
    predict: PredictFolds,
    encoder: Chosen | None = None,
) -> dict[str, Any] | None:
    """The whole study of a corpus: ``scores`` of test clips that are drawn and spoilt; None where it is switched off.

    Args:
        clips_folder: ``data/clips/<corpus>``.
        assignment: ``data/folds/<corpus>.csv``.
        settings: ``evaluate`` of params.yaml.
        extraction: ``features`` of params.yaml, as the networks were trained with.
        sample_rate: of the clips, in Hz.
        runtime: ``runtime`` of params.yaml.
        predict: the networks.
        encoder: whose hidden states the networks read; None where they read none.
    """
    if settings.robustness.max_clips == 0:
        return None
    table = read_table(clips_folder)
    tests = assignment[assignment["part"] == "test"]
    rows = chosen_clips(np.flatnonzero(table["clip"].isin(tests["clip"])), settings.robustness.max_clips, settings.seed)
    scored = tests[tests["clip"].isin(table["clip"].iloc[rows])]
    if extraction.normalise == "speaker":
        rows = np.arange(len(table))  # a speaker's scale is that of all the speaker's clips, as in the score

    def answers(views: Views, chosen: pd.DataFrame) -> pd.DataFrame:
        return predict(views, chosen, scored)

    return scores(study(clips_folder, rows, settings, extraction, sample_rate, runtime, answers, encoder), table, settings)


def study(
    clips_folder: str | Path,
    rows: np.ndarray,
    settings: Evaluate,
    extraction: Features,
    sample_rate: int,
    runtime: Runtime,
    predict: Predict,
    encoder: Chosen | None = None,
) -> dict[Condition, pd.DataFrame]:
    """Predictions of the chosen clips under each condition, clean first.

    Args:
        clips_folder: ``data/clips/<corpus>``.
        rows: numbers of the clips to use, sorted, shape (clips,).
        settings: ``evaluate`` of params.yaml.
        extraction: ``features`` of params.yaml, as the networks were trained with.
        sample_rate: of the clips, in Hz.
        runtime: ``runtime`` of params.yaml.
        predict: the networks.
        encoder: whose hidden states the networks read; None where they read none.
    """
    table = read_table(clips_folder).iloc[rows].reset_index(drop=True)
    audio = (Path(clips_folder) / "audio.npy").resolve()
    asked = conditions(settings.robustness)
    places = list(zip(table["offset"].tolist(), table["samples"].tolist(), strict=True))
    voices = [[places[other] for other in others] for others in voices_for(table, settings.seed)]
    tasks = (
        Chunk(audio, places[part], voices[part], condition, settings.seed, sample_rate, extraction, encoder)
        for condition in asked
        for part in (slice(first, first + CHUNK) for first in range(0, len(table), CHUNK))
    )
    spoilt = itertools.chain.from_iterable(spread(extract_chunk, tasks, runtime))
    facts = encoder.about if encoder is not None else None
    with tqdm(desc="robustness", total=len(asked) * len(table), unit="clip", mininterval=0.5) as progress:

        def of_a_condition() -> Iterator[dict[str, np.ndarray]]:
            for clip in itertools.islice(spoilt, len(table)):
                yield clip
                progress.update()

        return {condition: predict(pack(of_a_condition(), facts), table) for condition in asked}


@dataclass(frozen=True)
class Chunk:
    """Some clips of a store to be degraded and turned into features.

    Attributes:
        audio: file of all clips.
        places: first sample and number of samples of each clip.
        voices: for each clip the places of the clips in whose babble it is heard.
        condition: how they are degraded.
        seed: of the noise, with the clip's first sample.
        sample_rate: in Hz.
        features: section ``features``.
        encoder: whose hidden states are computed as well; None: of none.
    """

    audio: Path
    places: list[Place]
    voices: list[list[Place]]
    condition: Condition
    seed: int
    sample_rate: int
    features: Features
    encoder: Chosen | None = None


def extract_chunk(chunk: Chunk) -> list[dict[str, np.ndarray]]:
    """The features of each degraded clip, in order; noise is keyed by seed and clip and is the same at every level."""
    audio = np.asarray(np.load(chunk.audio, mmap_mode="r", allow_pickle=False))  # a plain view: slices of a memmap are slow

    def signal_at(place: Place) -> np.ndarray:
        return to_float(audio[place[0] : place[0] + place[1]])

    found = []
    for place, others in zip(chunk.places, chunk.voices, strict=True):
        voices = map(signal_at, others if chunk.condition.kind == "babble" else [])
        signal = perturb(signal_at(place), chunk.condition, chunk.sample_rate, (chunk.seed, place[0]), list(voices))
        clip = clip_features(signal, chunk.sample_rate, chunk.features)
        if chunk.encoder is not None:
            clip["encoder"] = chunk.encoder.states(signal, chunk.sample_rate)
        found.append(clip)
    return found


def scores(found: dict[Condition, pd.DataFrame], table: pd.DataFrame, settings: Evaluate) -> dict[str, Any]:
    """UA under each condition with its interval, and what is lost against the same clips untouched.

    Returns:
        ``n``, ``clean_ua``, ``worst_ua``, and ``conditions``: a list of ``{condition, kind, value, wa, ua, ci, lost, lost_ci}`` where
        ``lost`` = clean UA − UA and its interval is paired (the same resamples of speakers for both).
    """
    tests = {condition: out_of_fold(predictions, table) for condition, predictions in found.items()}
    clean = tests[Condition("clean")]
    weights = intervals.resamples(len(clean.speakers), settings.bootstrap, settings.seed)
    clean_ua = float(metrics.ua(clean.counts().sum(1)).mean())
    clean_draws = intervals.draws(clean.counts(), weights, metrics.ua)
    entries, every = [], []
    for condition, test in tests.items():
        counts = test.counts()
        drawn = intervals.draws(counts, weights, metrics.ua)
        ua = float(metrics.ua(counts.sum(1)).mean())
        every.append(ua)
        entries.append(
            {
                "condition": condition.name,
                "kind": condition.kind,
                "value": condition.value,
                "wa": float(metrics.wa(counts.sum(1)).mean()),
                "ua": ua,
                "ci": intervals.interval(drawn, settings.confidence, len(test.speakers)),
                "lost": clean_ua - ua,
                "lost_ci": intervals.interval(clean_draws - drawn, settings.confidence, len(test.speakers)),
            }
        )
    return {"n": clean.n, "clean_ua": clean_ua, "worst_ua": min(every), "conditions": entries}
