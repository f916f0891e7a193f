"""What the arguments of ``ser`` name: recordings, and the bundle to use when none is named."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ser import SerError
from ser.corpora.labels import AUDIO, not_audio
from ser.serving.bundle import BundleError


def recordings(paths: Iterable[str]) -> list[str]:
    """Files as they are named, and for each folder all recordings below it, sorted.

    Raises:
        SerError: if a path does not exist, or a folder holds no recording.
    """
    found: list[str] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            below = (entry for entry in path.rglob("*") if not_audio(entry.relative_to(path).as_posix()) is None)
            inside = sorted(str(entry) for entry in below if entry.is_file())
            if not inside:
                raise SerError(f"{name}: no recording in this folder ({', '.join(AUDIO)})")
            found += inside
        elif path.exists():
            found.append(name)
        else:
            raise SerError(f"{name}: no such file or folder")
    return found


def default_bundle(exports: Path) -> Path:
    """The bundle to use when none is named: the only one, or the only one besides the demo's.

    Raises:
        BundleError: if there is none, or a choice.
    """
    found = sorted(path.parent for path in exports.glob("*/bundle.json"))
    real = [path for path in found if path.name != "demo"] or found
    if len(real) == 1:
        return real[0]
    if not found:
        raise BundleError(f"no exported model in {exports.absolute()}: run `dvc repro`, or name one with --bundle FOLDER")
    raise BundleError(f"several exported models ({', '.join(map(str, real))}): name one with --bundle")
