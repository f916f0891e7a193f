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

FACTS = "encoder.json"
"""File that describes the states.

Its key ``encoder`` is null if nothing was encoded; then it is the only file.
"""


@dataclass(frozen=True)
class Encoded:
    """The hidden states of a corpus, all clips back to back, read from disk as needed.

    Attributes:
        states: float16 (tokens, chosen layers, width).
        offsets: int64 (clips + 1): clip i owns tokens ``offsets[i]:offsets[i + 1]``, in the row order of
            ``clips.csv``.
        facts: name, layers, width, tokens per second, silence, sha256 of the weights, licence.
    """

    states: np.ndarray
    offsets: np.ndarray
    facts: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def clip(self, row: int) -> np.ndarray:
        """Hidden states of clip number ``row``, float16 (tokens, chosen layers, width)."""
        return self.states[int(self.offsets[row]) : int(self.offsets[row + 1])]


def read(folder: str | Path) -> Encoded | None:
    """Open a folder of the stage encode; None if ``features.encoder`` was null.

    Raises:
        SerError: if the arrays do not belong together.
    """
    folder = Path(folder)
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))["encoder"]
    if facts is None:
        return None
    states = np.load(folder / "states.npy", mmap_mode="r", allow_pickle=False)
    offsets = np.load(folder / "offsets.npy", allow_pickle=False)
    if len(states) != offsets[-1] or states.shape[1:] != (len(facts["layers"]), facts["width"]):
        raise SerError(
            f"{folder}: states of shape {states.shape} for {offsets[-1]} tokens of {len(facts['layers'])} layers, {facts['width']} wide; "
            "run the encode stage again"
        )
    return Encoded(states, offsets, facts)


def write_facts(folder: Path, facts: Mapping[str, Any] | None) -> None:
    """Write the description of the states in a folder; None: nothing was encoded."""
    content: dict[str, Any] = {"encoder": facts}
    if facts is None:
        content["note"] = "features.encoder is null: nothing is encoded and nothing was downloaded"
    (folder / FACTS).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
