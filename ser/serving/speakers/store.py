"""Where profiles of speakers lie: one small JSON file each, in a folder of the user's own data."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import ValidationError

from ser import SerError
from ser.runtime.disk import file_written_whole
from ser.runtime.files import regular
from ser.runtime.machine import at_home
from ser.serving.speakers.profile import Profile

FOLDER = "SER_SPEAKERS_DIR"
"""Environment variable that names another folder."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SUFFIX = ".json"
MOST = 16 << 20
"""Bytes of a profile that are read at most."""
SHOWN = 20
"""Names that a message lists at most."""


def folder() -> Path:
    """The folder of the profiles: ``SER_SPEAKERS_DIR``, else ``ser/speakers`` in the user's data (XDG), by default ``~/.local/share``."""
    if named := os.environ.get(FOLDER):
        return at_home(named)
    return at_home(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "ser" / "speakers"


def checked(name: str) -> str:
    """The name of a speaker.

    Raises:
        SerError: if it is not valid.
    """
    if not NAME.fullmatch(name):
        raise SerError(f"{name[:80]!r} is not a valid name: 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit")
    return name


def listed() -> list[str]:
    """Names of all speakers, sorted."""
    return sorted(path.stem for path in folder().glob(f"*{SUFFIX}") if NAME.fullmatch(path.stem))


def write(name: str, profile: Profile) -> Path:
    """Write a profile, whole or not at all, for the user's eyes only; an older one of that name is replaced.

    Raises:
        SerError: if the name is not valid, or the folder cannot be written.
    """
    path = folder() / f"{checked(name)}{SUFFIX}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (
            file_written_whole(path, shared=True) as part,
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file,
        ):
            file.write(profile.model_dump_json() + "\n")
    except OSError as error:
        raise SerError(f"{path} cannot be written: {error.strerror or error}; {FOLDER} names another folder") from None
    return path


def read(name: str) -> Profile:
    """The profile of a speaker.

    Raises:
        SerError: if there is none, or its file is not a profile.
    """
    path = _there(name)
    try:
        with regular(path) as file:
            text = file.read(MOST + 1)
    except OSError as error:
        raise SerError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(text) > MOST:
        raise SerError(f"{path} has more than {MOST} bytes, so it is not a speaker's profile: enroll again")
    try:
        return Profile.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][:3]) + ": " if first["loc"] else ""
        raise SerError(f"{path} is not a speaker's profile ({where}{first['msg'].removeprefix('Value error, ')}): enroll again") from None


def remove(name: str) -> Path:
    """Remove the profile of a speaker, and nothing outside the folder; the path that it had.

    Raises:
        SerError: if there is none, or it cannot be removed.
    """
    path = _there(name)
    try:
        path.unlink()
    except OSError as error:
        raise SerError(f"{path} cannot be removed: {error.strerror or error}") from None
    return path


def _there(name: str) -> Path:
    path = folder() / f"{checked(name)}{SUFFIX}"
    if not os.path.lexists(path):
        names = listed()
        known = ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
        said = f"enrolled: {known}" if names else "nobody is enrolled: `ser enroll NAME RECORDINGS` does it"
        raise SerError(f"no speaker {name} in {folder()}; {said}")
    return path
