"""How two versions of an output differ: how many values, and how much."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load as load_tensors

from stages import changes

Named = dict[str, np.ndarray]


def files_of(path: str, md5: str, copy: Path, cache: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """Every file of an output whose committed version is here, in the working directory: path, content as committed, content now.

    Args:
        path: of the output, relative to the repository.
        md5: the committed hash, as dvc.lock has it.
        copy: the clone that made the output again.
        cache: of DVC, with committed files that are not in git.
    """
    if md5.endswith(".dir"):
        listing = _object(cache, md5)
        for one in json.loads(listing.read_text(encoding="utf-8")) if listing.exists() else []:
            kept, part = _object(cache, one["md5"]), f"{path}/{one['relpath']}"
            if kept.exists():
                yield part, kept.read_bytes(), _content(copy / part)
        return
    kept = _object(cache, md5)
    committed = kept.read_bytes() if kept.exists() else changes.committed(Path(path))
    if committed is not None:
        yield path, committed, _content(copy / path)


def difference(path: str, before: bytes, after: bytes) -> str | None:
    """How two contents of a file differ, in words; None where they do not.

    Numbers are compared in ``.npy``, ``.npz``, ``.safetensors``, ``.csv`` and ``.json``; of other files bytes
    are counted.
    """
    if before == after:
        return None
    if not after:
        return "it was not made"
    try:
        read = {".npy": _npy, ".npz": _npz, ".safetensors": load_tensors, ".csv": _csv, ".json": _json}[Path(path).suffix]
        old, new = read(before), read(after)
    except (KeyError, ValueError, OSError):
        return _of_bytes(before, after)
    if {name: values.shape for name, values in old.items()} != {name: values.shape for name, values in new.items()}:
        return "it has another form: " + ", ".join(f"{name} {values.shape}" for name, values in new.items())[:200]
    return _of_values(old, new) or _of_bytes(before, after)


def _of_values(old: Named, new: Named) -> str | None:
    """Count the values that differ and measure the largest difference of numbers."""
    count, total, largest, first = 0, 0, 0.0, ""
    for name, values in old.items():
        other = new[name]
        numbers = np.issubdtype(values.dtype, np.number) and np.issubdtype(other.dtype, np.number)
        apart = (values != other) & ~((values != values) & (other != other)) if numbers else values.astype(str) != other.astype(str)
        total += values.size
        if apart.any():
            first = first or name
            count += int(apart.sum())
            if numbers:
                largest = max(largest, float(np.abs(values[apart].astype(np.float64) - other[apart].astype(np.float64)).max()))
    if not count:
        return None
    return (
        f"{count:,} of {total:,} values differ"
        + (f", by at most {largest:.3g}" if largest else "")
        + (f" (first in {first})" if first else "")
    )


def _of_bytes(before: bytes, after: bytes) -> str:
    length = min(len(before), len(after))
    apart = int((np.frombuffer(before[:length], np.uint8) != np.frombuffer(after[:length], np.uint8)).sum())
    return f"{apart:,} of {length:,} bytes differ" + (
        f", {len(after):,} bytes in place of {len(before):,}" if len(before) != len(after) else ""
    )


def _npy(content: bytes) -> Named:
    return {"": np.load(io.BytesIO(content), allow_pickle=False)}


def _npz(content: bytes) -> Named:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def _csv(content: bytes) -> Named:
    table = pd.read_csv(io.BytesIO(content))
    return {str(name): table[name].to_numpy() for name in table}


def _json(content: bytes) -> Named:
    return {name: np.array(value) for name, value in _leaves("", json.loads(content))}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(f"{name}.{key}" if name else str(key), inner)
    else:
        yield name, "null" if value is None else value


def _object(cache: Path, md5: str) -> Path:
    return cache / md5[:2] / md5[2:]


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
