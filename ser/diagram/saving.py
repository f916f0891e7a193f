"""A figure into an image file, or one message."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from ser import SerError
from ser.runtime.disk import file_written_whole

ENDINGS = (".svg", ".png", ".pdf")
"""Suffixes of the pictures that can be written. matplotlib knows more, but some of its formats take no metadata."""


def save(figure: Figure, path: Path, dpi: int, metadata: Mapping[str, str | None] | None, option: str = "") -> None:
    """Write a figure into the file of this very name; folders are made.

    Args:
        figure: what is drawn.
        path: image to write; its suffix gives the format.
        dpi: dots per inch.
        metadata: as matplotlib takes it.
        option: of the command line, which a message begins with.

    Raises:
        SerError: if the suffix is none of ``ENDINGS``.
        OSError: if the file cannot be written.
    """
    said = f"{option} {path}".strip()
    if path.suffix.lower() not in ENDINGS:
        raise SerError(f"{said}: the name needs an ending that gives the format: {', '.join(ENDINGS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with file_written_whole(path) as part:
        figure.savefig(part, dpi=dpi, metadata=metadata, format=path.suffix.removeprefix(".").lower())
