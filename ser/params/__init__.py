"""The schema of ``params.yaml``: every key typed, bounded, documented; unknown keys refused by name.

Imports no other package.
Imported by ``runtime``, ``corpora``, ``download``, ``signal``, ``encoders``, ``views``, ``splits``,
``model``, ``diagram``, ``training``, ``evaluation``, ``serving`` and ``search``.

>>> from ser.params import load
>>> load("params.yaml").preprocess.sample_rate
16000
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ser import SerError
from ser.params.base import Section
from ser.params.corpora import NAME, Corpus
from ser.params.evaluate import Evaluate
from ser.params.explain import explain
from ser.params.export import Export
from ser.params.features import Features
from ser.params.model import Model
from ser.params.preprocess import Preprocess
from ser.params.runtime import Runtime
from ser.params.split import Split
from ser.params.train import Train

__all__ = ["Params", "ParamsError", "load", "parse", "plain"]


class ParamsError(SerError):
    """``params.yaml`` cannot be used; the message names each key, what was found and what is allowed."""


class Params(Section):
    """The whole file."""

    corpora: dict[str, Corpus]
    preprocess: Preprocess
    split: Split
    features: Features
    model: Model
    train: Train
    evaluate: Evaluate
    export: Export
    runtime: Runtime
    datasets: list[str] = Field(min_length=1)
    """Corpora to run, each a key of ``corpora``. Keep ``demo`` in the list (docs/dvc.md says why)."""

    @property
    def trains_on_states(self) -> bool:
        """Whether training reads hidden states of an encoder: the model does, or the network's teacher."""
        return self.model.reads_encoder is not None or (self.model.kind == "network" and self.train.teacher != "none")

    @model_validator(mode="after")
    def functionals_are_read(self) -> Params:
        if self.features.functionals is not None and self.model.kind != "svm":
            raise ValueError(
                f"features.functionals: model.kind {self.model.kind} does not read functionals ({self.features.functionals}); "
                "set model.kind to svm, or features.functionals to null"
            )
        return self

    @model_validator(mode="after")
    def branches_read_views(self) -> Params:
        views = list(self.features.views)
        self._only("model.branches", self.model.branches, [*(f"{view}_cnn" for view in views), "transformer", "encoder"])
        self._only("model.transformer.view", [self.model.transformer.view], [*views, "both"])
        return self

    def _only(self, key: str, found: list[str], allowed: list[str]) -> None:
        """Refuse names that are not allowed. A separate error type: no other value of a search can make them valid."""
        for name in found:
            if name not in allowed:
                facts = {"key": key, "found": repr(name), "allowed": " | ".join(allowed)}
                raise PydanticCustomError("unknown_view", "{key}: found {found}; allowed: {allowed}", facts)

    @model_validator(mode="after")
    def hidden_states_are_there(self) -> Params:
        reads, encoder, linear = self.model.reads_encoder, self.features.encoder, self.model.linear.layers
        warm, taught = (self.model.kind == "network" and found == "linear" for found in (self.train.warm_start, self.train.teacher))
        if warm and reads is None:
            raise ValueError("train.warm_start: linear fits hidden states; add encoder to model.branches, or set it to none")
        if taught and reads is not None:
            raise ValueError("train.teacher: linear teaches a network that does without the encoder; take encoder out of model.branches")
        if taught and linear == "auto":
            raise ValueError("model.linear.layers: auto chooses them by validation clips, which a teacher must not see; name the layers")
        if reads is None and not taught:
            return self
        reader = {None: "train.teacher", "pooled": "model.kind linear", "states": "branch encoder of model.branches"}[reads]
        if encoder is None:
            raise ValueError(f"features.encoder: null, and {reader} reads its hidden states; name an encoder and its layers")
        if self.features.normalise == "clip" and reads is not None:
            raise ValueError(f"features.normalise: clip cannot be used with {reader}; choose corpus or speaker")
        if linear != "auto" and (reads != "states" or warm) and not set(linear) <= set(encoder.layers):
            raise ValueError(f"model.linear.layers: {linear} must be among features.encoder.layers {encoder.layers}")
        return self

    @model_validator(mode="after")
    def copies_can_be_heard(self) -> Params:
        augment, encoder = self.train.augment, self.features.encoder
        if self.features.copies is None:
            return self
        if self.model.reads_encoder is not None and encoder is not None and not encoder.copies:
            raise ValueError("features.copies: the model reads hidden states of the copies too; set features.encoder.copies to true")
        if self.features.normalise == "speaker":
            raise ValueError(
                "features.copies: a speaker's scale is that of clean clips; set it to null, or features.normalise to corpus or clip"
            )
        if self.model.kind == "network" and augment.noise_snr_db is not None and augment.noise_domain == "waveform":
            raise ValueError("features.copies: noise on recordings would replace the copies; set train.augment.noise_snr_db to null")
        return self

    @model_validator(mode="after")
    def regressions_are_refitted(self) -> Params:
        if self.export.model == "refit" and self.model.kind != "linear":
            raise ValueError(
                f"export.model: refit fits a regression, and model.kind is {self.model.kind}; choose folds, or model.kind linear"
            )
        return self

    @model_validator(mode="after")
    def hidden_states_keep_their_time(self) -> Params:
        augment = self.train.augment
        if self.model.reads_encoder == "states" and (augment.speed > 0 or augment.shift_seconds > 0):
            raise ValueError(
                "train.augment: speed and shift_seconds move the frames of the views, but stored hidden states cannot be moved; "
                "set both to 0 with the branch encoder"
            )
        return self

    @model_validator(mode="after")
    def all_views_show_the_same_recording(self) -> Params:
        augment = self.train.augment
        noise = augment.noise_snr_db is not None and augment.noise_domain == "mel"
        apart = self.features.apart
        if self.model.kind == "network" and apart and (noise or augment.band_shift > 0):
            shared = "set features.mfcc.n_mels to features.log_mel.n_mels and features.deltas to false, or " if apart == ["mfcc"] else ""
            raise ValueError(
                f"train.augment: noise on mel power and band_shift change mel bands, and {', '.join(apart)} cannot be computed again from "
                f"them; {shared}set noise_domain to waveform and band_shift to 0"
            )
        return self

    @model_validator(mode="after")
    def corpora_have_plain_names(self) -> Params:
        first: dict[str, str] = {}
        for name in self.corpora:
            if not NAME.fullmatch(name):
                raise ValueError(
                    f"corpora: {name!r} cannot be the name of a corpus; allowed: letters, digits, _ and -, at most 64, "
                    "the first a letter or a digit"
                )
            if (other := first.setdefault(name.lower(), name)) != name:
                raise ValueError(f"corpora: {other!r} and {name!r} differ only in case, and on some file systems they would share a folder")
        return self

    @model_validator(mode="after")
    def corpora_have_a_split(self) -> Params:
        for name, corpus in self.corpora.items():
            if "split" not in corpus.model_fields_set:  # DVC, too, wants the key
                raise ValueError(f"corpora.{name}.split: missing; write `split:` for no value, which means as in split")
        return self

    @model_validator(mode="after")
    def datasets_are_known(self) -> Params:
        known = ", ".join(self.corpora) or "nothing"
        for name in self.datasets:
            if name not in self.corpora:
                raise ValueError(f"datasets: {name!r} is not a corpus; corpora holds: {known}")
        if len(set(self.datasets)) != len(self.datasets):
            raise ValueError("datasets: a corpus is named twice")
        for name, corpus in self.corpora.items():
            for member in getattr(corpus.source, "members", []):
                if member == name or member not in self.corpora:
                    raise ValueError(f"corpora.{name}.source.members: {member!r} is not another corpus; known: {known}")
        return self

    def split_of(self, corpus: str) -> Split:
        """The split of a corpus: ``split``, with the corpus' own values in their place."""
        return self.split.with_own(self.corpora[corpus].split)


def parse(values: Any, where: str = "params.yaml") -> Params:
    """Check plain values (as YAML gives them) against the schema.

    Raises:
        ParamsError: with one line for each key that is unknown, missing, of a wrong type or out of range.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError(explain(error, Params, where)) from None


def load(path: str | Path = "params.yaml") -> Params:
    """Read and check the file.

    Raises:
        ParamsError: if the file is missing, is not YAML, or breaks the schema.
    """
    return parse(plain(Path(path), str(path)), str(path))


def plain(source: Path | bytes, where: str) -> Any:
    """The values of a file, or of its content, as YAML 1.2, which is what DVC reads (so ``1e-3`` is a number for both).

    Raises:
        ParamsError: if it is missing or is not YAML.
    """
    from ruamel.yaml import YAML  # of the laboratory: a predictor uses the schema and reads no YAML
    from ruamel.yaml.error import YAMLError

    try:
        if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode) and not source.is_dir():
            raise ParamsError(f"{where} cannot be read: it is no regular file")  # a pipe might never begin, a device never end
        return YAML(typ="safe", pure=True).load(source)
    except FileNotFoundError:
        raise ParamsError(f"{where} not found in {Path.cwd()}: run from the root of the repository") from None
    except OSError as error:
        raise ParamsError(f"{where} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ParamsError(f"{where} cannot be used: it nests too deep") from None
    except (YAMLError, ValueError, KeyError) as error:  # a date or truth value that is none, a number of thousands of digits
        raise ParamsError(f"{where} is not valid YAML: {error}") from None
