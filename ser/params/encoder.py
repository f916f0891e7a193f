"""``features.encoder``: a frozen pretrained speech encoder, whose hidden states are stored beside the other features."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ser.params.base import Section


class Encoder(Section):
    name: str = Field(min_length=1)
    """Name in the table of ser/encoders/table.py, such as whisper-base; with ``path`` any name for the folder's model."""
    layers: list[Annotated[int, Field(ge=0, le=999)]] = Field(min_length=1)
    """Hidden states to store, ascending: 0 is the stem with positions, k the output of layer k. Nothing above the highest is computed."""
    silence_seconds: float = Field(1.0, ge=0, le=10)
    """Silence appended to each clip before it is encoded. Its tokens are stored too: they carry information about the clip."""
    copies: bool = True
    """Whether the spoilt copies of ``features.copies`` are encoded too. false: the clips alone, which is all that a teacher reads."""
    path: str | None = None
    """Your own folder with config.json and model.safetensors, used instead of the mirror, the cache and the hub; null: none."""

    @model_validator(mode="after")
    def layers_ascend(self) -> Encoder:
        if self.layers != sorted(set(self.layers)) or self.layers[0] < 0:
            raise ValueError(f"layers {self.layers} must ascend from 0 or more, each named once")
        return self
