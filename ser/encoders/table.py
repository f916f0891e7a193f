"""The table of encoders: where the weights are published, their sizes, and what their licence allows.

Commits and checksums come from public lock files and model indexes; each checksum was confirmed by several.
An empty field
means unknown: the first download asks the hub and prints the line to pin.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from ser import SerError

Commercial = Literal["yes", "no", "unclear"]


@dataclass(frozen=True)
class Row:
    """One encoder.

    Attributes:
        name: value of ``features.encoder.name``, and name of the folder in a mirror and in the cache.
        repository: owner and name on the Hugging Face hub.
        commit: revision of the repository, 40 hexadecimal digits; empty: the main branch at the first
            download.
        sha256: of ``model.safetensors`` at that commit; empty: the hub names it at the first download.
        family: ``model_type`` in its ``config.json``.
        width: numbers in a hidden state.
        layers: Transformer layers, so hidden states 0 … layers.
        licence: of the weights.
        commercial: whether the licence allows commercial use.
        frames_per_second: hidden states per second of audio.
    """

    name: str
    repository: str
    commit: str
    sha256: str
    family: str
    width: int
    layers: int
    licence: str
    commercial: Commercial
    frames_per_second: float = 50.0

    @property
    def terms(self) -> str:
        """The licence and what it means for commercial use, in words."""
        use = {"yes": "commercial use allowed", "no": "no commercial use", "unclear": "whether commercial use is allowed is unclear"}
        return f"{self.licence}; {use[self.commercial]}"


_WAVLM = "unclear: the model card has none of its own and refers to the UniSpeech repository, whose LICENSE is CC BY-SA 3.0"

TABLE = (
    Row(
        "whisper-tiny", "openai/whisper-tiny", "169d4a4341b33bc18d8881c4b69c2e104e1cc0af",
        "7ebd0e69e78190ffe1438491fa05cc1f5c1aa3a4c4db3bc1723adbb551ea2395", "whisper", 384, 4, "MIT", "yes",
    ),
    Row(
        "whisper-tiny.en", "openai/whisper-tiny.en", "87c7102498dcde7456f24cfd30239ca606ed9063",
        "db59695928ded6043adaef491a53ef4e12da9611184d77c53baa691a60b958ad", "whisper", 384, 4, "MIT", "yes",
    ),
    Row(
        "whisper-base", "openai/whisper-base", "e37978b90ca9030d5170a5c07aadb050351a65bb",
        "07cadb9f25677c8d50df603e66a98fbd842cce45047139baeb16e6219a1e807b", "whisper", 512, 6, "MIT", "yes",
    ),
    Row(
        "whisper-base.en", "openai/whisper-base.en", "911407f4214e0e1d82085af863093ec0b66f9cd6",
        "d4dd5542fd6a1d35639e21384238f3bfe6c557c849d392b5905d33ee29e71db5", "whisper", 512, 6, "MIT", "yes",
    ),
    Row(
        "whisper-small", "openai/whisper-small", "973afd24965f72e36ca33b3055d56a652f456b4d",
        "1d7734884874f1a1513ed9aa760a4f8e97aaa02fd6d93a3a85d27b2ae9ca596b", "whisper", 768, 12, "MIT", "yes",
    ),
    Row(
        "whisper-large-v3-turbo", "openai/whisper-large-v3-turbo", "41f01f3fe87f28c78e2fbf8b568835947dd65ed9",
        "542566a422ae4f3fd23f1ba11add198fca01bbf82e66e6a2857b3f608b1eb9d1", "whisper", 1280, 32, "MIT", "yes",
    ),
    Row("wav2vec2-base", "facebook/wav2vec2-base", "", "", "wav2vec2", 768, 12, "Apache-2.0", "yes"),
    # The main branches of the next four hold only a pickle; these commits are the conversions to safetensors
    # on the hub.
    Row(
        "hubert-base", "facebook/hubert-base-ls960", "af46f65f540dc3ca7aa59f46c6c3d5dbb4374fa8", "",
        "hubert", 768, 12, "Apache-2.0", "yes",
    ),
    Row(
        "hubert-large", "facebook/hubert-large-ll60k", "1c513b9a0780f7afa32e4480311fa444e56c3a2e", "",
        "hubert", 1024, 24, "Apache-2.0", "yes",
    ),
    Row(
        "wavlm-base-plus", "microsoft/wavlm-base-plus", "98fd61b9c652129c839c0a25a05987d8f59256a4", "",
        "wavlm", 768, 12, _WAVLM, "unclear",
    ),
    Row(
        "wavlm-large", "microsoft/wavlm-large", "07d9d3d8576fd3d718ee7b16b2b6242e9610d9af", "",
        "wavlm", 1024, 24, _WAVLM, "unclear",
    ),
    Row("data2vec-audio-base", "facebook/data2vec-audio-base", "", "", "data2vec-audio", 768, 12, "Apache-2.0", "yes"),
)  # fmt: skip


def row(name: str) -> Row:
    """The encoder of this name.

    Raises:
        SerError: if there is none; the message names the known ones, and for emotion2vec the reason why it is
            missing.
    """
    if name.lower().startswith("emotion2vec"):
        raise SerError(
            f"features.encoder.name: {name} is not offered: it was trained on the corpora that this laboratory evaluates on, "
            "so its scores would not be out of sample"
        )
    known = {one.name: one for one in TABLE}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise SerError(
            f"features.encoder.name: {name!r} is not known; {hint}on offer: {', '.join(known)}; "
            "for another model of these families set features.encoder.path to its folder"
        )
    return known[name]
