"""Bring a corpus' archives into data/raw/<corpus>/, packed and verified, with source.json: the first stage.

Looked at in this order: the mirror (SER_MIRROR or runtime.mirror: a folder or address holding <corpus>/<archive>), archives kept from
earlier runs (SER_CACHE_DIR or runtime.cache_dir), the official address. `demo` is made on the spot, without a network.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from ser import runtime
from ser.fetch import FetchError, fetch
from ser.params import Params
from ser.params.corpora import Folder, Synthetic
from stages.command import parser, run


def download(params: Params, options: argparse.Namespace) -> None:
    """The stage."""
    name: str = options.dataset
    target = Path("data/raw") / name
    mirror, cache = runtime.mirror(params.runtime), runtime.cache_dir(params.runtime)
    try:
        source = fetch(name, params.corpora[name], target, mirror=mirror, cache=cache, corpora=params.corpora)
    except FetchError as error:
        others = f"  - dvc pull {target}, where a remote holds it\n  - stay with the demo corpus, which needs no network: datasets: [demo]"
        missing = _missing_too(params, name) if error.unreachable else []
        raise FetchError("\n".join([f"{error}\n{others}", *missing])) from None
    size = sum(archive["size"] for archive in source["archives"])
    names = ", ".join(archive["name"] for archive in source["archives"])
    print(f"{name}: {names} ({size / 1e6:,.1f} MB, {source['edition']}) in {target}")


def _missing_too(params: Params, failed: str) -> list[str]:
    """What the other corpora of this run lack, so that one who has no network is told everything at once.

    What does come is kept in the cache folder, where the other corpus' own stage finds it.
    """
    mirror, cache = runtime.mirror(params.runtime), runtime.cache_dir(params.runtime)
    messages = []
    for name in params.datasets:
        published = not isinstance(params.corpora[name].source, Synthetic | Folder)
        if name != failed and published and not Path("data/raw", name, "source.json").exists():
            with tempfile.TemporaryDirectory() as target:
                try:
                    fetch(name, params.corpora[name], Path(target), mirror=mirror, cache=cache, corpora=params.corpora)
                except FetchError as error:
                    messages.append(f"\n{error}")
    return messages


if __name__ == "__main__":
    run(parser(__doc__), download)
