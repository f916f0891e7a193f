"""Trained networks applied to clips of a corpus."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ser import SerError
from ser.encoders.store import EncoderFacts
from ser.model import fusion
from ser.model.baseline import Svm
from ser.model.encoder_branch import EncoderInput, TokenRate
from ser.model.linear import Linear
from ser.model.network import Network, evaluating
from ser.params import Params
from ser.params.base import Section
from ser.params.features import Features
from ser.params.model import Model
from ser.params.preprocess import Preprocess
from ser.params.train import Train
from ser.runtime.reading import read_json, written_by
from ser.training import batches, hidden
from ser.training.checkpoint import read_weights
from ser.views.features import Views, read, widths
from ser.views.windows import windows

BATCH = 64

Machine = Network | Svm | Linear
"""Whatever ``model.kind`` makes: it has ``n_classes`` and gives logits."""


@dataclass(frozen=True)
class Trained:
    """What ``train`` wrote beside the weights (``model.json``): enough to use a network without params.yaml.

    Attributes:
        corpus: its name.
        classes: emotions in report order.
        folds: numbers of the folds.
        seeds: numbers of the seeds.
        preprocess, features, model, train: the parameters that made it.
        notes: facts for the metrics, such as device type and determinism.
        encoder: the frozen encoder whose hidden states the model reads; None where it reads none.
    """

    corpus: str
    classes: list[str]
    folds: list[int]
    seeds: list[int]
    preprocess: Preprocess
    features: Features
    model: Model
    train: Train
    notes: dict[str, Any]
    encoder: EncoderFacts | None = None

    @classmethod
    def planned(
        cls,
        corpus: str,
        table: pd.DataFrame,
        folds: list[int],
        params: Params,
        notes: dict[str, Any],
        encoder: EncoderFacts | None = None,
    ) -> Trained:
        """Describe the models that these parameters will produce. ``classes`` are the requested ones that occur in ``table`` (clips.csv).

        Raises:
            SerError: if the fusion cannot work with the other parameters of ``model``.
        """
        fusion.load(params.model.fusion).check(params.model)
        there = set(table["emotion"])
        classes = [emotion for emotion in params.corpora[corpus].labels.classes or sorted(there) if emotion in there]
        sections = params.preprocess, params.features, params.model, params.train
        return cls(corpus, classes, folds, params.train.seeds, *sections, notes, encoder if params.model.reads_encoder else None)

    @property
    def frames_per_second(self) -> float:
        """Frame rate of the features."""
        return self.preprocess.sample_rate / self.features.frames.hop_length

    @property
    def max_frames(self) -> int:
        """Longest stretch a network sees at once."""
        return max(1, round(self.train.max_seconds * self.frames_per_second))

    def write(self, folder: Path) -> None:
        """Write ``model.json``."""
        sections = {name: getattr(self, name).model_dump() for name in ("preprocess", "features", "model", "train")}
        facts = {"corpus": self.corpus, "classes": self.classes, "folds": self.folds, "seeds": self.seeds, **sections, "notes": self.notes}
        if self.encoder is not None:
            facts["encoder"] = self.encoder.model_dump()
        (folder / "model.json").write_text(json.dumps(facts, indent=1) + "\n")


def describe(folder: str | Path) -> Trained:
    """Read ``model.json``.

    Raises:
        SerError: if it is not there.
    """
    path = Path(folder) / "model.json"
    if not path.exists():
        raise SerError(f"{path} not found: run the train stage for this corpus first (dvc repro train@{Path(folder).name})")
    facts = read_json(path, "train", path.parent.name)
    sections: dict[str, type[Section]] = {"preprocess": Preprocess, "features": Features, "model": Model, "train": Train}
    sections["encoder"] = EncoderFacts
    with written_by("train", path.parent.name, path):
        values: dict[str, Any] = {
            name: sections[name].model_validate(value) if name in sections else value for name, value in facts.items()
        }
        return Trained(**values)


def new_network(trained: Trained) -> Network:
    """An untrained network of the right shape."""
    encoder = None
    if trained.encoder is not None:
        rate = TokenRate.of(trained.features.frames.hop_length, trained.encoder.tokens_per_second, trained.preprocess.sample_rate)
        encoder = EncoderInput(len(trained.encoder.layers), trained.encoder.width, rate)
    return Network(trained.model, widths(trained.features), len(trained.classes), encoder, trained.train.warm_start == "linear")


def load_network(folder: str | Path, trained: Trained, fold: int, seed: int, device: torch.device) -> Machine:
    """The network (or support vector machine, or regression) of one fold and seed, ready for use."""
    path = Path(folder) / f"fold{fold}-seed{seed}.safetensors"
    state = read_weights(path)
    shaped: dict[str, Callable[[dict[str, Tensor]], Svm | Linear]] = {"svm": Svm.shaped, "linear": Linear.shaped}
    network: Machine
    with written_by("train", path.parent.name, path):
        network = shaped[trained.model.kind](state) if trained.model.kind in shaped else new_network(trained)
        network.load_state_dict(state)
    return network.to(device).eval()


def load_corpus(
    trained: Trained,
    source: Views | str | Path,
    encoded: str | Path | None,
    table: pd.DataFrame,
    device: torch.device,
    copies: bool = False,
) -> batches.Corpus:
    """All that a model reads of a corpus, on the device.

    Args:
        trained: the model.
        source: the features, with hidden states where the model reads them; or the folder that ``features`` wrote.
        encoded: with a folder as ``source``, the one that ``encode`` wrote; opened only where the model reads hidden states.
        table: ``clips.csv``.
        device: torch device.
        copies: whether the spoilt copies are read too; only training hears them.

    Raises:
        SerError: if features, hidden states and clips do not belong together, or the hidden states are of another encoder than the
            model's.
    """
    reads = trained.model.reads_encoder
    views = source if isinstance(source, Views) else read(source, trained.features, encoded if reads is not None else None)
    if not copies:
        views = views.without_copies()
    if reads is None:
        return batches.load(views, table, trained.classes, trained.features, device)
    if views.encoded is None:
        raise SerError("the model reads hidden states and none are given: run the encode stage")
    if views.encoded.about != trained.encoder:
        raise SerError(
            f"the hidden states are of {views.encoded.about}, the model was made for {trained.encoder}: run encode and train again"
        )
    if views.encoded.copies != views.copies:
        raise SerError(f"hidden states of {views.encoded.copies} copies of each clip, features of {views.copies}: run encode and features")
    states = hidden.load(
        views.encoded, table["samples"].to_numpy(), table["speaker"].to_numpy(str), trained.preprocess.sample_rate,
        trained.features.frames.hop_length, trained.features.normalise, reads, device,
    )  # fmt: skip
    return batches.load(views, table, trained.classes, trained.features, device, states)


@torch.no_grad()
def probabilities(network: Machine, corpus: batches.Corpus, rows: np.ndarray, max_frames: int) -> np.ndarray:
    """Class probabilities of clips, shape (len(rows), classes), float64; windows of long clips are averaged.

    An SVM reads the functionals where there are any, a regression the pooled hidden states, and these are of whole clips.
    """
    if len(rows) == 0:
        return np.zeros((0, network.n_classes))
    with evaluating(network):
        if isinstance(network, Svm) and corpus.functionals is not None:
            return _softmax(network.decisions(corpus.functionals[torch.tensor(rows, device=corpus.device)])).numpy()
        if isinstance(network, Linear):
            assert corpus.hidden is not None
            assert corpus.hidden.pooled is not None
            return _softmax(network.decisions(corpus.hidden.pooled[torch.tensor(rows, device=corpus.device)])).numpy()
        return _by_windows(network, corpus, rows, max_frames)


def _by_windows(network: Network | Svm, corpus: batches.Corpus, rows: np.ndarray, max_frames: int) -> np.ndarray:
    owner, first, length = windows(corpus.length.cpu().numpy()[rows], max_frames)
    order = np.argsort(length, kind="stable")  # neighbours in length: little padding
    found: list[Tensor] = []
    for part in np.split(order, range(BATCH, len(order), BATCH)):
        at, begin, lengths = (torch.from_numpy(values).to(corpus.device) for values in (rows[owner[part]], first[part], length[part]))
        views, _ = batches.gather(corpus, at, begin, lengths)
        found.append(_softmax(network(views, lengths)))
    each = torch.cat(found).numpy()
    total = np.zeros((len(rows), each.shape[1]))
    np.add.at(total, owner[order], each)
    return total / np.bincount(owner, minlength=len(rows))[:, None]


def _softmax(logits: Tensor) -> Tensor:
    """Softmax in float64, on the CPU, because some devices have no float64."""
    return logits.cpu().double().softmax(1)


def predict(
    folder: str | Path,
    features: Views | str | Path,
    table: pd.DataFrame,
    assignment: pd.DataFrame,
    device: torch.device,
    encoded: str | Path | None = None,
) -> pd.DataFrame:
    """Probabilities of every validation and test clip, by networks that did not train on it.

    Args:
        folder: ``models/<corpus>``.
        features: of these clips, or the folder that holds them (``data/features/<corpus>``).
        table: ``clips.csv``.
        assignment: ``data/folds/<corpus>.csv``.
        device: torch device.
        encoded: with a folder of features, that of the hidden states (``data/encoded/<corpus>``); opened only where they are read.

    Returns:
        ``clip, fold, seed, part, emotion, p_<class>…``, sorted by fold, seed, part and clip.
    """
    trained = describe(folder)
    corpus = load_corpus(trained, features, encoded, table, device)
    row_of = pd.Series(np.arange(len(table)), index=table["clip"])
    found = []
    for fold in trained.folds:
        for seed in trained.seeds:
            network = load_network(folder, trained, fold, seed, device)
            for part in ("test", "valid"):
                clips = assignment.loc[(assignment["fold"] == fold) & (assignment["part"] == part), "clip"].sort_values()
                rows = row_of[clips].to_numpy()
                p = probabilities(network, corpus, rows, trained.max_frames)
                frame = pd.DataFrame({"clip": clips.to_numpy(), "fold": fold, "seed": seed, "part": part})
                frame["emotion"] = table["emotion"].to_numpy()[rows]
                found.append(pd.concat([frame, pd.DataFrame(p, columns=[f"p_{name}" for name in trained.classes])], axis=1))
    return pd.concat(found, ignore_index=True)
