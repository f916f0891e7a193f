"""Put an exported bundle into the package, where `ser predict` finds it: python -m stages.bundle ravdess

Reads exports/NAME. Writes ser/bundles/NAME with the licence of its corpus. It refuses a bundle that is too large, that was
not refitted on all clips, or whose encoder was not compared with the one used in training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser import SerError
from ser.runtime.disk import written_whole
from ser.runtime.output import printed
from ser.serving import bundle as bundles
from ser.serving.references import PACKAGED
from stages.ending import in_words

MOST = 13_000_000
"""Bytes that a bundle in the package may have."""
EXPORTS = Path("exports")
LICENCES = Path("docs/licences")
"""Texts of licences, by corpus."""


def main() -> None:
    """Command line: see ``python -m stages.bundle --help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help="corpus of exports/NAME")
    options = parser.parse_args()
    with in_words(), printed():
        there = sorted(path.name for path in EXPORTS.glob("*") if path.is_dir())
        if options.name not in there:
            raise SerError(f"no bundle {options.name!r} in {EXPORTS}/; there are: {', '.join(there) or 'none'}. Export makes them")
        size = put(EXPORTS / options.name, PACKAGED, LICENCES / f"{options.name}.txt")
        print(f"{PACKAGED / options.name}: {size / 1e6:.1f} MB")


def put(exported: Path, packaged: Path, licence: Path) -> int:
    """Copy a bundle; its size in bytes.

    Args:
        exported: ``exports/<corpus>``.
        packaged: folder of the bundles in the package.
        licence: text of the terms that hold for the bundle.

    Raises:
        SerError: if it may not be put into the package.
    """
    facts = bundles.read(exported)
    graphs = {bundles.MODEL: bundles.graph(exported, bundles.MODEL, facts.model_sha256)}
    if facts.encoder is not None:
        graphs[bundles.ENCODER] = bundles.graph(exported, bundles.ENCODER, facts.encoder.sha256)
    if facts.made != "refit" or facts.score is None:
        raise SerError(f"{exported} is not an evaluated model of all clips: set export.model to refit, and run evaluate and export")
    texts = {name: (exported / name).read_bytes() for name in (bundles.FACTS, bundles.CARD)}
    size = sum(map(len, [*graphs.values(), *texts.values()]))
    if size > MOST:
        raise SerError(
            f"{exported} has {size} bytes; a bundle in the package may have {MOST}: set export.precision to int8, or use fewer layers"
        )
    if facts.encoder is not None and facts.encoder.parity is None:
        raise SerError(f"{exported}: its encoder was not compared with that of training: export it where data/clips is present")
    if not licence.exists():
        raise SerError(f"{licence} not found: a bundle in the package needs the licence of its corpus")
    texts[bundles.LICENCE] = licence.read_bytes()
    with written_whole(packaged / exported.name) as partial:
        for name, content in {**graphs, **texts}.items():
            (partial / name).write_bytes(content)
    return size


if __name__ == "__main__":
    main()
