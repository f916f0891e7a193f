"""Read the hidden states of a corpus, ``data/encoded/<corpus>/``, as ``ser/encoders/encode.py`` wrote them.
No torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser import SerError
from ser.params.base import Section
from ser.params.encoder import Encoder
from ser.runtime.reading import DamagedError, read_array, read_json, read_offsets, written_by

FACTS = "encoder.json"
"""File that describes the states.

Its key ``encoder`` is null if nothing was encoded; then it is the only file.
"""


class EncoderFacts(Section):
    """What stands in ``encoder.json``, typed for whoever keeps it: the encoder that a model was trained with."""

    name: str
    layers: list[int]
    width: int
    tokens_per_second: float
    silence_seconds: float
    sha256: str
    licence: str


@dataclass(frozen=True)
class Encoded:
    """The hidden states of a corpus, all clips back to back, read from disk as needed.

    Attributes:
        states: float16 (tokens, chosen layers, width).
        offsets: int64 (rows + 1): row i owns tokens ``offsets[i]:offsets[i + 1]``. Rows are the clips in the
            order of ``clips.csv``, then all of them again for each copy.
        facts: name, layers, width, tokens per second, silence, sha256 of the weights, licence.
        copies: copies of each clip.
    """

    states: np.ndarray
    offsets: np.ndarray
    facts: Mapping[str, Any]
    copies: int = 0

    def __len__(self) -> int:
        """Number of clips; copies do not count."""
        return (len(self.offsets) - 1) // (1 + self.copies)

    def without_copies(self) -> Encoded:
        """The clips alone."""
        offsets = self.offsets[: len(self) + 1]
        return Encoded(self.states[: int(offsets[-1])], offsets, self.facts)

    @property
    def about(self) -> EncoderFacts:
        """The facts, typed."""
        return EncoderFacts.model_validate(dict(self.facts))

    def clip(self, row: int) -> np.ndarray:
        """Hidden states of a row, float16 (tokens, chosen layers, width)."""
        return self.states[int(self.offsets[row]) : int(self.offsets[row + 1])]


def read(folder: str | Path) -> Encoded | None:
    """Open a folder of the stage encode; None if ``features.encoder`` was null.

    Raises:
        ser.runtime.reading.DamagedError: if a file is damaged, or the files do not belong together.
    """
    folder = Path(folder)
    corpus = folder.name
    content = read_json(folder / FACTS, "encode", corpus, ["encoder"])
    facts = content["encoder"]
    if facts is None:
        return None
    with written_by("encode", corpus, folder / FACTS):
        row = len(facts["layers"]), int(facts["width"])
        copies = int(content.get("copies", 0))
    states = read_array(folder / "states.npy", "encode", corpus, np.float16, row)
    offsets = read_offsets(folder / "offsets.npy", "encode", corpus)
    if len(states) != offsets[-1]:
        reason = f"it holds {len(states)} tokens, offsets.npy counts {offsets[-1]}"
        raise DamagedError(folder / "states.npy", "encode", corpus, reason)
    if copies < 0 or (len(offsets) - 1) % (1 + copies):
        raise DamagedError(folder / "offsets.npy", "encode", corpus, f"{len(offsets) - 1} rows are not clips and {copies} copies of each")
    return Encoded(states, offsets, facts, copies)


def about(folder: str | Path | None, asked: Encoder | None) -> EncoderFacts | None:
    """Which encoder the states in a folder are of; None without a folder.

    Args:
        folder: ``data/encoded/<corpus>``.
        asked: ``features.encoder`` of params.yaml.

    Raises:
        SerError: when nothing was encoded there, or states of another encoder or of other layers than are asked for.
    """
    if folder is None:
        return None
    encoded = read(folder)
    if encoded is None:
        raise nothing_encoded(folder)
    found = encoded.about
    here, wanted = (_named(one.name, one.layers, one.silence_seconds) if one is not None else "none" for one in (found, asked))
    if here != wanted:
        raise SerError(f"{folder} holds {here}, and features.encoder asks for {wanted}: run encode again")
    return found


def _named(name: str, layers: list[int], silence: float) -> str:
    return f"layers {layers} of {name}, clips with {silence:g} s of silence"


def nothing_encoded(folder: str | Path) -> SerError:
    """What to say where hidden states are needed and the stage encode had no encoder."""
    return SerError(f"{folder} holds no hidden states (features.encoder was null): run encode again")


def write_facts(folder: Path, facts: Mapping[str, Any] | None, copies: int = 0) -> None:
    """Write the description of the states in a folder; None: nothing was encoded."""
    content: dict[str, Any] = {"encoder": facts}
    if copies:
        content["copies"] = copies
    if facts is None:
        content["note"] = "features.encoder is null: nothing is encoded and nothing was downloaded"
    (folder / FACTS).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
