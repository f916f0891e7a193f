"""Download: bring a corpus' archives into data/raw/<corpus>/, packed and verified, with source.json.

The stage tries the mirror first (SER_MIRROR or runtime.mirror: a folder or address that holds
<corpus>/<archive>), then archives kept from earlier runs (SER_CACHE_DIR or runtime.cache_dir), then the
official address. `demo` is made here, without a network. Own recordings are packed once, because DVC does not
watch their folder: ``--changed`` packs those again that have changed since.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

from ser import SerError
from ser.corpora.listing import check_labels
from ser.download.fetch import FetchError, fetch, obstacle
from ser.params import Params
from ser.runtime import machine
from stages.command import run
from stages.paths import RAW, Paths
from stages.recordings import stale


def main(params: Params, options: argparse.Namespace) -> None:
    """Fetch the corpus ``options.dataset``; with ``--changed``, pack own recordings of this run again where they have changed."""
    if not options.changed:
        download(params, options)
        return
    for name in params.datasets:
        if changes := stale(name, params, RAW):
            print(f"{name}: {changes} since the recordings were packed; packing them again")
            download(params, argparse.Namespace(dataset=name))


def download(params: Params, options: argparse.Namespace) -> None:
    """Fetch the corpus ``options.dataset``, after a check that no label of any corpus of this run is misspelt."""
    name: str = options.dataset
    for one in dict.fromkeys([name, *params.datasets]):
        check_labels(one, params.corpora)
    mirror, cache = machine.mirror(params.runtime), machine.cache_dir(params.runtime)
    try:
        source = fetch(name, params.corpora[name], RAW, mirror=mirror, cache=cache, corpora=params.corpora)
    except FetchError as error:
        others = f"  - dvc pull {Paths(name).raw}, if a remote has it\n  - use the demo corpus, which needs no network: datasets: [demo]"
        raise SerError("\n\n".join([f"{error}\n{others}", *map(str, _missing_too(params, error.corpus))])) from None
    size = sum(archive["size"] for archive in source["archives"])
    names = ", ".join(archive["name"] for archive in source["archives"])
    print(f"{name}: {names} ({size / 1e6:,.1f} MB, {source['edition']}) in {Paths(name).raw}")


def _missing_too(params: Params, failed: str) -> list[FetchError]:
    """Why other corpora of this run cannot be fetched either, so that a user sees all problems at once.

    All are only asked for, at the same time. Nothing is fetched or made for a run that ends here.
    """
    mirror, cache = machine.mirror(params.runtime), machine.cache_dir(params.runtime)
    lacking = [name for name in params.datasets if name != failed and not (Paths(name).raw / "source.json").exists()]
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(obstacle, name, params.corpora[name], RAW, mirror=mirror, cache=cache) for name in lacking]
        return [error for error in (one.result() for one in asked) if error is not None]


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = arguments.add_mutually_exclusive_group(required=True)
    which.add_argument("--dataset", metavar="NAME", help="corpus to fetch, a key of `corpora` in params.yaml")
    which.add_argument("--changed", action="store_true", help="pack the own recordings in `datasets` again that have changed since")
    run(arguments, main)
