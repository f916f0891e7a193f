"""How much the score drops on degraded recordings: noise, babble, level, room, telephone, lossy coding.

The clips are perturbed as they are stored (after VAD), go through the same features (openSMILE's functionals and the frozen encoder too,
where the model reads them) and networks, and are scored beside the same clips untouched. The networks come as a callable, so that nothing
here knows torch.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ser.encoders.frozen import Chosen
from ser.evaluation import intervals, metrics
from ser.evaluation.predictions import out_of_fold
from ser.params.evaluate import Evaluate, Robustness
from ser.params.features import Features
from ser.params.runtime import Runtime
from ser.runtime.workers import spread
from ser.signal.clips import read_table, to_float, to_int16
from ser.signal.noise import with_noise
from ser.signal.rooms import box, reverberant
from ser.signal.spoiling import coded, mixed, telephone
from ser.views.extraction import clip_features
from ser.views.features import Views, pack

CHUNK = 32
"""Clips of a task; small enough to share out a few hundred among many cores."""
TELEPHONE_BAND = (300.0, 3400.0)
"""Hz; the band of a voice channel (ITU-T G.712)."""
TELEPHONE_ORDER = 4
"""Of the Butterworth filter."""
ROOM = (4.0, 3.0, 2.5), (1.0, 1.0, 1.5), (3.0, 2.0, 1.2)
"""Size of the small room, place of the voice and of the microphone in it, in m."""
REFLECTION = 0.8
"""Of its walls, as a share of the pressure: a reverberation time of 0.26 s."""
ROOM_SECONDS = 0.4
VOICES = 4
"""Other clips that talk at once in the babble."""
MP3_LEVEL = 0.9
"""libsndfile's compression level (0 best, 1 smallest); variable rate, about 20 kbit/s for speech at 16 kHz."""

Predict = Callable[[Views, pd.DataFrame], pd.DataFrame]
"""Frames of some clips and their rows of clips.csv → predictions of their test part, as ``ser.evaluation.predictions`` describes them."""
PredictFolds = Callable[[Views, pd.DataFrame, pd.DataFrame], pd.DataFrame]
"""The same for the rows of a fold table, which come third."""


@dataclass(frozen=True)
class Condition:
    """One way to spoil a recording: ``clean``, ``noise`` and ``babble`` (value: SNR in dB), ``gain`` (dB), ``room``, ``telephone``,
    ``mp3``.
    """

    kind: str
    value: float | None = None

    @property
    def name(self) -> str:
        """For people and tables."""
        if self.kind in ("noise", "babble"):
            return f"{self.kind} {self.value:g} dB SNR"
        if self.kind == "gain":
            return f"gain {self.value:+g} dB"
        return self.kind


def conditions(settings: Robustness) -> list[Condition]:
    """``clean`` first, then what the parameters ask for, noise from weak to strong."""
    return [
        Condition("clean"),
        *(Condition("noise", snr) for snr in sorted(set(settings.snr_db), reverse=True)),
        *(Condition("babble", snr) for snr in sorted(set(settings.babble_snr_db), reverse=True)),
        *(Condition("gain", gain) for gain in sorted(set(settings.gain_db))),
        *([Condition("room")] if settings.room else []),
        *([Condition("telephone")] if settings.telephone else []),
        *([Condition("mp3")] if settings.mp3 else []),
    ]


def perturb(
    signal: np.ndarray, condition: Condition, sample_rate: int, key: tuple[int, ...], others: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """The signal under the condition, as it would be stored: int16 steps, saturated at full scale.

    Args:
        signal: mono float in [−1, 1), shape (samples,), not empty.
        condition: what to do.
        sample_rate: in Hz.
        key: of the random generator (seed, clip).
        others: signals of other clips, of which babble is made.

    Returns:
        float32 in [−1, 1), shape (samples,).

    Raises:
        ValueError: for an empty signal or an unknown kind of condition.
    """
    if signal.ndim != 1 or len(signal) == 0:
        raise ValueError(f"signal must be a list of at least one value, has the shape {signal.shape}")
    if condition.kind == "clean":
        return signal.astype(np.float32)
    if condition.kind == "noise":
        return with_noise(signal, _value(condition), key)
    if condition.kind == "gain":
        spoilt = signal * 10 ** (_value(condition) / 20)
    elif condition.kind == "telephone":
        spoilt = telephone(signal, sample_rate, *TELEPHONE_BAND, TELEPHONE_ORDER)
    elif condition.kind == "mp3":
        spoilt = coded(signal, sample_rate, "MP3", "MPEG_LAYER_III", MP3_LEVEL, "VARIABLE")
    elif condition.kind == "room":
        spoilt = reverberant(signal, small_room(sample_rate))
    elif condition.kind == "babble":
        spoilt = mixed(signal.astype(np.float64), babble(len(signal), others, key), _value(condition))
    else:
        raise ValueError(f"condition.kind must be clean, noise, babble, gain, room, telephone or mp3, is {condition.kind!r}")
    return to_float(to_int16(spoilt))


@functools.cache
def small_room(sample_rate: int) -> np.ndarray:
    """Impulse response of the study's room; another model of rooms than the one that ``features.copies`` is made with."""
    return box(*ROOM, REFLECTION, ROOM_SECONDS, sample_rate)


def babble(samples: int, others: Sequence[np.ndarray], key: tuple[int, ...]) -> np.ndarray:
    """Several other clips at once, each equally strong and repeated from a place of its own; silence without other clips."""
    random = np.random.default_rng((*key, 8))
    total = np.zeros(samples)
    for number in random.permutation(len(others))[:VOICES].tolist():
        voice = np.roll(others[number].astype(np.float64), int(random.integers(len(others[number]))))
        power = float(np.mean(np.square(voice)))
        total += np.resize(voice, samples) / np.sqrt(power) if power > 0 else 0.0
    return total


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
    tasks = (
        Chunk(audio, part["offset"].to_numpy(), part["samples"].to_numpy(), condition, settings.seed, sample_rate, extraction, encoder)
        for condition in asked
        for part in (table.iloc[start : start + CHUNK] for start in range(0, len(table), CHUNK))
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
    """Some clips of a store to be spoilt and turned into features: file, first sample and length of each, and how."""

    audio: Path
    starts: np.ndarray
    lengths: np.ndarray
    condition: Condition
    seed: int
    sample_rate: int
    features: Features
    encoder: Chosen | None = None


def extract_chunk(chunk: Chunk) -> list[dict[str, np.ndarray]]:
    """The features of each spoilt clip, in order; noise is keyed by seed and clip and is the same at every level.

    Babble is made of the other clips of the chunk.
    """
    audio = np.asarray(np.load(chunk.audio, mmap_mode="r", allow_pickle=False))  # a plain view: slices of a memmap are slow
    clips = [to_float(audio[start : start + length]) for start, length in zip(chunk.starts, chunk.lengths, strict=True)]
    found = []
    for number, start in enumerate(chunk.starts.tolist()):
        others = clips[:number] + clips[number + 1 :]
        signal = perturb(clips[number], chunk.condition, chunk.sample_rate, (chunk.seed, start), others)
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


def _value(condition: Condition) -> float:
    if condition.value is None:
        raise ValueError(f"condition.value is missing: {condition.kind} needs a level in dB")
    return condition.value
