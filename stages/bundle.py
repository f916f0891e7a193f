"""Put an exported bundle into the package, where `ser predict` finds it: python -m stages.bundle ravdess

Reads exports/NAME and metrics. Writes ser/bundles/NAME with the licence of its corpus beside it. It refuses a bundle that is
too large to travel, that was not refitted on all clips, or whose encoder was not held against the one of training.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from ser import SerError
from ser.runtime.disk import written_whole
from ser.serving import bundle as bundles
from ser.serving.references import PACKAGED

MOST = 13_000_000
"""Bytes that a bundle in the package may have."""
LICENCES = Path("docs/licences")
"""Texts of licences, by corpus."""


def main() -> None:
    """Command line: see ``python -m stages.bundle --help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help="corpus of exports/NAME")
    options = parser.parse_args()
    try:
        size = put(Path("exports", options.name), PACKAGED, LICENCES / f"{options.name}.txt")
    except SerError as error:
        sys.exit(f"error: {error}")
    print(f"{PACKAGED / options.name}: {size / 1e6:.1f} MB")


def put(exported: Path, packaged: Path, licence: Path) -> int:
    """Copy a bundle; its size in bytes.

    Args:
        exported: ``exports/<corpus>``.
        packaged: folder of the bundles in the package.
        licence: text of the terms that hold for the bundle.

    Raises:
        SerError: if it may not travel.
    """
    facts = bundles.read(exported)
    files = [bundles.MODEL, bundles.FACTS, bundles.CARD, *([bundles.ENCODER] if facts.encoder else [])]
    if facts.made != "refit" or facts.score is None:
        raise SerError(f"{exported} is not an evaluated model of all clips: set export.model to refit, and run evaluate and export")
    size = sum((exported / name).stat().st_size for name in files)
    if size > MOST:
        raise SerError(f"{exported} has {size} bytes, and {MOST} may travel: choose export.precision int8, or fewer layers")
    if facts.encoder is not None and facts.encoder.parity is None:
        raise SerError(f"{exported}: its encoder was not held against the one of training: export it where its clips are")
    if not licence.exists():
        raise SerError(f"{licence} not found: a bundle travels with the licence of its corpus")
    with written_whole(packaged / exported.name) as partial:
        for name in files:
            shutil.copyfile(exported / name, partial / name)
        shutil.copyfile(licence, partial / bundles.LICENCE)
    return size


if __name__ == "__main__":
    main()
