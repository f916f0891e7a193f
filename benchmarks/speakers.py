"""What is a profile of a speaker worth (``ser enroll``)? UA on test speakers of RAVDESS after 0 to 30 of their clips.

    dvc exp run $(python -m stages.preset linear_robust) -S 'datasets=[ravdess]' -S evaluate.robustness.max_clips=0 evaluate@ravdess
    python -m benchmarks.speakers

It reads the regressions, hidden states and folds of the run in the working tree. Each test speaker is judged by the
regression of a fold that has not heard them, adapted with some of their clips, on others of theirs. The clips for the
profile say one of RAVDESS' two sentences, and those that are judged say the other. The draws are repeated, and all
numbers of clips are judged on the same ones. How much a profile changes (``pseudo``, ``penalty``) is chosen for each
fold on validation speakers, of all folds, who are no test speakers of this one; ``defaults`` has the scores with the
two defaults of ``ser.serving.speakers.adaptation``. Neutral has two clips of a sentence, and the others have four: ten clips of
a class do not exist.

Intervals are 95 %, bootstrapped over speakers. It takes some minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.record import record
from ser import SerError
from ser.encoders import store
from ser.evaluation import intervals, metrics
from ser.evaluation.adaptation import SMALLEST, centred
from ser.model.linear import Linear
from ser.params import load
from ser.serving.model_graph import Standard
from ser.serving.speakers.adaptation import PENALTY, PSEUDO, adapted
from ser.signal.clips import read_table
from ser.training import hidden
from ser.training.inference import Trained, describe, load_network
from stages.paths import Paths, needed

COUNTS = (1, 2, 3, 4)
"""Clips of each class that make a profile, neutral at most 2; and as many without labels, at random."""
PSEUDOS, PENALTIES = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0), (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
UNEVEN = "unlabelled 4, neutral and calm only"
PICTURE = Path("docs/pictures/speakers.svg")
RESAMPLES, CONFIDENCE = 4999, 0.95
CHOOSING = 8
"""Draws of each validation speaker."""


@dataclass(frozen=True)
class Study:
    """A run, as far as it is needed: emotion (class number), speaker and sentence of each clip, its pooled hidden states, and of each
    fold's regression what it knows of its training clips and its probabilities of all clips.
    """

    trained: Trained
    parts: pd.DataFrame
    target: np.ndarray
    speaker: np.ndarray
    sentence: np.ndarray
    pooled: np.ndarray
    standards: dict[int, Standard]
    answers: dict[int, np.ndarray]

    def speakers(self, fold: int, part: str) -> list[str]:
        """Speakers of one part of a fold."""
        return sorted(set(self.speaker[self.parts[fold].to_numpy() == part]))


def opened(corpus: str) -> Study:
    """The run in the working tree."""
    paths = Paths(corpus)
    trained = describe(paths.models)
    if trained.model.kind != "linear" or trained.features.normalise != "corpus":
        raise SerError(f"{paths.models} holds no regressions with features.normalise corpus: run the preset linear first")
    table, encoded = read_table(paths.clips), store.read(needed(paths.encoded, f"encode@{corpus}"))
    assert encoded is not None
    read = hidden.load(
        encoded.without_copies(), table["samples"].to_numpy(), table["speaker"].to_numpy(str), trained.preprocess.sample_rate,
        trained.features.frames.hop_length, "corpus", "pooled", torch.device("cpu"),
    )  # fmt: skip
    assert read.pooled is not None
    every = {fold: load_network(paths.models, trained, fold, trained.seeds[0], torch.device("cpu")) for fold in trained.folds}
    machines = {fold: one for fold, one in every.items() if isinstance(one, Linear)}
    assignment = pd.read_csv(needed(paths.assignment, f"split@{corpus}"))
    parts = assignment.pivot_table(index="clip", columns="fold", values="part", aggfunc="first").reindex(table["clip"])
    number = {name: place for place, name in enumerate(trained.classes)}
    return Study(
        trained,
        parts,
        table["emotion"].map(number).to_numpy(np.int64),
        table["speaker"].to_numpy(str),
        table["statement"].to_numpy(str),
        read.pooled.numpy(),
        {fold: _standard(one.widened(read.pooled.shape[1])) for fold, one in machines.items()},
        {fold: torch.softmax(one.decisions(read.pooled).double(), 1).numpy() for fold, one in machines.items()},
    )


def _standard(wide: Linear) -> Standard:
    return Standard(torch.log_softmax(wide.bias.double(), 0).numpy(), wide.centre.double().numpy(), wide.scale.double().numpy())


@dataclass(frozen=True)
class Draw:
    """Clips of one speaker: in a random order those of one sentence, by class, and all of the other sentence."""

    by_class: list[np.ndarray]
    mixed: np.ndarray
    judged: np.ndarray

    def labelled(self, count: int, classes: np.ndarray | None = None) -> np.ndarray:
        """Some of each class."""
        chosen = range(len(self.by_class)) if classes is None else classes
        return np.concatenate([self.by_class[number][:count] for number in chosen])

    def unlabelled(self, count: int) -> np.ndarray:
        """As many clips, whatever they are."""
        return self.mixed[: len(self.labelled(count))]


def drawn(study: Study, speaker: str, draws: int) -> Iterator[Draw]:
    """Draws of one speaker; each sentence is judged in every other one."""
    random = np.random.default_rng([int(sign) for sign in speaker.encode()])
    own = study.speaker == speaker
    sentences = np.unique(study.sentence[own])
    for number in range(draws):
        known = own & (study.sentence == sentences[number % len(sentences)])
        by_class = [random.permutation(np.flatnonzero(known & (study.target == place))) for place in range(len(study.trained.classes))]
        yield Draw(by_class, random.permutation(np.flatnonzero(known)), np.flatnonzero(own & ~known))


Choose = Callable[[Draw], tuple[np.ndarray, bool]]
"""Clips for a profile, and whether their labels are used."""


def plans(classes: list[str]) -> dict[str, Choose]:
    """What is compared, by name."""
    found: dict[str, Choose] = {}
    for count in COUNTS:
        found[f"unlabelled {count}"] = lambda draw, count=count: (draw.unlabelled(count), False)  # type: ignore[misc]
        found[f"labelled {count}"] = lambda draw, count=count: (draw.labelled(count), True)  # type: ignore[misc]
    calm = np.array([classes.index(name) for name in ("neutral", "calm") if name in classes])
    found[UNEVEN] = lambda draw: (draw.labelled(4, calm), False)
    found["labelled 2, neutral and calm only"] = lambda draw: (draw.labelled(2, calm), True)
    found["labelled 4, half of the classes"] = lambda draw: (draw.labelled(4, draw.mixed[:1] % 2 + np.arange(0, len(classes), 2)), True)
    return found


def judged(
    study: Study, fold: int, speaker: str, draws: int, choose: Choose | None, pseudo: float, penalty: float
) -> tuple[np.ndarray, float]:
    """Confusion of one speaker's judged clips after adaptation (None: before), (draws, classes, classes), and their mean log loss."""
    standard, answers = study.standards[fold], study.answers[fold]
    counts, losses = [], []
    for draw in drawn(study, speaker, draws):
        p = answers[draw.judged]
        if choose is not None:
            rows, labelled = choose(draw)
            labels = study.target[rows] if labelled else np.full(len(rows), -1)
            found = adapted(standard, answers[rows], study.pooled[rows], labels, pseudo, penalty)
            p = found.applied(p, study.pooled[draw.judged])
        counts.append(metrics.confusion(study.target[draw.judged], p.argmax(1), len(study.trained.classes)))
        losses.append(-np.log(np.maximum(p[np.arange(len(p)), study.target[draw.judged]], SMALLEST)).mean())
    return np.stack(counts), float(np.mean(losses))


def chosen(study: Study, fold: int | None, draws: int) -> tuple[float, float]:
    """Pseudo-count and penalty with the best UA on validation speakers who are no test speakers of a fold (None: on all).

    Few clips and many count alike, and for the pseudo-count clips of two moods only too: people's clips are rarely even.
    """
    closed = study.speakers(fold, "test") if fold is not None else []
    folds = study.trained.folds
    everybody = [(one, speaker) for one in folds for speaker in study.speakers(one, "valid") if speaker not in closed]
    every = plans(study.trained.classes)

    def score(names: list[str], pseudo: float, penalty: float) -> float:
        each = [
            sum(judged(study, one, speaker, draws, every[name], pseudo, penalty)[0].sum(0) for one, speaker in everybody) for name in names
        ]
        return float(np.mean([metrics.ua(np.asarray(counts)) for counts in each]))

    pseudo = max(PSEUDOS, key=lambda value: score([*(f"unlabelled {count}" for count in COUNTS[::2]), UNEVEN], value, PENALTY))
    return pseudo, max(PENALTIES, key=lambda value: score([f"labelled {count}" for count in COUNTS[::2]], pseudo, value))


def main(corpus: str, draws: int) -> None:
    """Measure, draw the picture, print and write down."""
    torch.set_num_threads(1)
    study = opened(corpus)
    people = [(fold, speaker) for fold in study.trained.folds for speaker in study.speakers(fold, "test")]
    weights = intervals.resamples(len(people), RESAMPLES, 0)
    settings = {fold: chosen(study, fold, CHOOSING) for fold in study.trained.folds}
    print(f"chosen on validation speakers: {settings}", file=sys.stderr)

    def counted(choose: Choose | None, values: dict[int, tuple[float, float]]) -> tuple[np.ndarray, float]:
        each = [judged(study, fold, speaker, draws, choose, *values[fold]) for fold, speaker in people]
        return np.stack([counts for counts, _ in each], axis=1), float(np.mean([loss for _, loss in each]))

    def scored(found: tuple[np.ndarray, float]) -> dict[str, Any]:
        counts, loss = found
        both = [intervals.draws(each, weights, metrics.ua) for each in (counts, base[0])]
        limits = [intervals.interval(values, CONFIDENCE, len(people)) for values in (both[0], both[0] - both[1])]
        ua, before = (float(metrics.ua(each.sum(1)).mean()) for each in (counts, base[0]))
        texts = ["" if one is None else f"{100 * one[0]:.1f} … {100 * one[1]:.1f}" for one in limits]
        return {
            "ua": round(ua, 4),
            "interval": texts[0],
            "gain": round(ua - before, 4),
            "gain_interval": texts[1],
            "log_loss": round(loss, 3),
        }

    base = counted(None, settings)
    rows: list[dict[str, Any]] = [{"profile": "none", "clips": 0, **scored(base)}]
    defaults = {fold: (PSEUDO, PENALTY) for fold in study.trained.folds}
    for name, choose in plans(study.trained.classes).items():
        clips = float(np.mean([len(choose(draw)[0]) for _, speaker in people for draw in drawn(study, speaker, 2)]))
        fixed = scored(counted(choose, defaults))
        rows.append(
            {"profile": name, "clips": round(clips, 1), **scored(counted(choose, settings))}
            | {"defaults": fixed["ua"], "defaults_log_loss": fixed["log_loss"]}
        )
    pseudo, penalty = chosen(study, None, CHOOSING)
    figures = {"draws": draws, "speakers": len(people), "pseudo": pseudo, "penalty": penalty, **one_speaker(study)}
    record("speakers", figures, rows, params=load(), sections=("preprocess",))
    picture(rows)


def one_speaker(study: Study) -> dict[str, float]:
    """UA where each answer is centred on the speaker's others (``ser predict --one-speaker``): around zero, and around the average clip."""
    found = np.zeros((2, len(study.trained.classes), len(study.trained.classes)))
    for fold in study.trained.folds:
        rows = np.flatnonzero(study.parts[fold].to_numpy() == "test")
        relative = np.log(centred(study.answers[fold][rows], np.unique(study.speaker[rows], return_inverse=True)[1]))
        for place, moved in enumerate((relative, relative + study.standards[fold].answer)):
            found[place] += metrics.confusion(study.target[rows], moved.argmax(1), len(study.trained.classes))
    return {f"one_speaker_ua_{name}": round(float(metrics.ua(counts)), 4) for name, counts in zip(("zero", "average"), found, strict=True)}


def picture(rows: list[dict[str, Any]]) -> None:
    """UA over the number of clips, with and without labels."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "speakers", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.subplots()
        for kind, colour in (("labelled", "#c2410c"), ("unlabelled", "#1d4ed8")):
            those = [rows[0], *(row for row in rows if row["profile"] in {f"{kind} {count}" for count in COUNTS})]
            limits = np.array([[float(end) for end in row["interval"].split(" … ")] for row in those])
            clips = [row["clips"] for row in those]
            axes.fill_between(clips, limits[:, 0], limits[:, 1], color=colour, alpha=0.12, linewidth=0)
            axes.plot(
                clips, [100 * row["ua"] for row in those], "o-", color=colour, label="with labels" if kind == "labelled" else "without"
            )
        axes.set(xlabel="clips of the speaker that made the profile", ylabel="UA on others of theirs, %", xlim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc="lower right")
        axes.spines[["top", "right"]].set_visible(False)
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(PICTURE, metadata={"Date": None, "Creator": None}, facecolor="white")
    print(f"written: {PICTURE}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dataset", default="ravdess", metavar="NAME", help="corpus with two sentences (default ravdess)")
    arguments.add_argument("--draws", type=int, default=20, metavar="N", help="draws of clips for each speaker (default 20)")
    options = arguments.parse_args()
    main(options.dataset, options.draws)
