"""Names that people give: labels and speakers made comparable, and the files and folders that no person made."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from ser import SerError

_INVISIBLE = {"Cc", "Cf"}
"""Unicode categories of characters that draw nothing: control and format."""
_BLANK = set("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}
"""Other characters that draw nothing: fillers, joiners, an empty Braille cell, variation selectors."""
_TOOL_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
"""Folders of operating systems and network drives, in lower case.

Those that begin with a dot are hidden anyway.
"""

EMOTIONS = frozenset(
    (
        "afraid", "amused", "anger", "angry", "annoyed", "anxious", "awe", "bored", "boredom", "calm", "contempt",
        "delighted", "desire", "disgust", "disgusted", "disappointed", "excited", "excitement", "fear", "fearful",
        "frustrated", "frustration", "happiness", "happy", "hate", "joy", "joyful", "laughter", "love", "neutral",
        "pain", "panic", "pleased", "pleasure", "pride", "proud", "relief", "relaxed", "sad", "sadness", "scared",
        "scream", "shame", "stress", "stressed", "surprise", "surprised", "sympathy", "tense", "terror", "tired",
        "worried",
    )
)  # fmt: skip
"""Words by which people call labels, and hardly ever a speaker."""


def clean(name: str) -> str:
    """A label or speaker in normal form: Unicode NFC, visible characters only, single blanks, trimmed."""
    spaced = " ".join(unicodedata.normalize("NFC", name).split())
    visible = "".join(sign for sign in spaced if unicodedata.category(sign) not in _INVISIBLE and sign not in _BLANK)
    return " ".join(unicodedata.normalize("NFC", visible).split())


def check_spellings(names: Iterable[str], what: str, where: str) -> None:
    """Refuse two names that a person would read as one: ``ADA`` and ``ada`` would be two speakers, one in
    training and one in test.

    Args:
        names: cleaned names.
        what: ``label`` or ``speaker``, for the message.
        where: table, folder or archive that they are from.

    Raises:
        SerError: naming both spellings, if two names differ only in case, width or Unicode normalisation.
    """
    first: dict[str, str] = {}
    for name in sorted(set(names)):
        other = first.setdefault(_alike(name), name)
        if other != name:
            raise SerError(
                f"{where}: the {what}s {_shown(other)} and {_shown(name)} differ only in case, width or Unicode form; write them alike"
            )


def is_hidden(path: str) -> bool:
    """Whether a file or one of its folders is hidden, in a trash, or a tool's own.

    Such are ``.ipynb_checkpoints``, ``.Trash-1000``, and ``__MACOSX/._name.wav``, which macOS packs beside
    every ``name.wav``.
    """
    return any(part.startswith(".") or part.lower() in _TOOL_FOLDERS for part in PurePosixPath(path).parts if part != "..")


def _alike(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _shown(name: str) -> str:
    """A name in quotes. Where its characters are not plain ASCII their codes follow, since both spellings may
    look the same.
    """
    return repr(name) if name.isascii() else f"{name!r} ({ascii(name)[1:-1]})"
