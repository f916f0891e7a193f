"""Whether the user's own recordings have changed since they were packed, which DVC cannot see: it watches the archive only."""

from __future__ import annotations

import logging
from pathlib import Path

from ser import SerError
from ser.corpora import folder
from ser.params import Params
from ser.params.corpora import Folder, Joint
from stages.paths import RAW, SUMS

log = logging.getLogger(__name__)


def stale(name: str, params: Params, raw: Path = RAW) -> str | None:
    """How the folders of a corpus differ from what was packed: ``50 recordings added``; None if they do not, or if it has none.

    Raises:
        SerError: if a folder cannot be packed as it is.
    """
    source = params.corpora[name].source
    if isinstance(source, Folder):
        return folder.changes(raw / name / folder.ARCHIVE, name, source, SUMS / raw.relative_to(RAW) / name / "recordings.json")
    if isinstance(source, Joint):
        found = {member: stale(member, params, raw / name) for member in source.members}
        return "; ".join(f"{member}: {changes}" for member, changes in found.items() if changes) or None
    return None


def warn_if_stale(name: str, params: Params) -> None:
    """Warn that this run works on recordings as they were, and name the command that packs them again."""
    try:
        changes = stale(name, params)
    except SerError as error:
        changes = f"its folder cannot be packed as it is now ({error})"
    if changes:
        log.warning(
            "warning: %s: %s since the recordings were packed. This run uses the packed recordings. To use the changed ones, run "
            "`python -m stages.download --dataset %s`, then the same command again.",
            name,
            changes,
            name,
        )
