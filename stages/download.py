"""Bring a corpus' archives into data/raw/<corpus>/, packed and verified, with source.json: the first stage.

Looked at in this order: the mirror (SER_MIRROR or machine.mirror: a folder or address holding <corpus>/<archive>), archives kept from
earlier runs (SER_CACHE_DIR or machine.cache_dir), the official address. `demo` is made on the spot, without a network.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ser import SerError
from ser.download.fetch import FetchError, fetch, obstacle
from ser.params import Params
from ser.runtime import machine
from stages.command import parser, run


def download(params: Params, options: argparse.Namespace) -> None:
    """The stage."""
    name: str = options.dataset
    target = Path("data/raw") / name
    mirror, cache = machine.mirror(params.runtime), machine.cache_dir(params.runtime)
    try:
        source = fetch(name, params.corpora[name], target, mirror=mirror, cache=cache, corpora=params.corpora)
    except FetchError as error:
        others = f"  - dvc pull {target}, where a remote holds it\n  - stay with the demo corpus, which needs no network: datasets: [demo]"
        raise SerError("\n\n".join([f"{error}\n{others}", *map(str, _missing_too(params, error.corpus))])) from None
    size = sum(archive["size"] for archive in source["archives"])
    names = ", ".join(archive["name"] for archive in source["archives"])
    print(f"{name}: {names} ({size / 1e6:,.1f} MB, {source['edition']}) in {target}")


def _missing_too(params: Params, failed: str) -> list[FetchError]:
    """What keeps other corpora of this run from coming, so that one who has no network is told everything at once.

    They are only asked for, all at the same time: nothing is fetched or made on behalf of a run that ends here.
    """
    mirror, cache = machine.mirror(params.runtime), machine.cache_dir(params.runtime)
    targets = {name: Path("data/raw", name) for name in params.datasets if name != failed}
    lacking = {name: target for name, target in targets.items() if not (target / "source.json").exists()}
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(obstacle, name, params.corpora[name], to, mirror=mirror, cache=cache) for name, to in lacking.items()]
        return [error for error in (one.result() for one in asked) if error is not None]


if __name__ == "__main__":
    run(parser(__doc__), download)
