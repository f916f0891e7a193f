"""Checkpoints of interrupted trainings, outside the pipeline's outputs, used only by an identical training.

Tensors are stored as safetensors and the rest as its JSON metadata, so reading a checkpoint runs no code from
it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ser.runtime.disk import file_written_whole


def fingerprint(settings: Any, files: Iterable[str | Path]) -> str:
    """Name of a training: it changes with any parameter, any byte of an input and any line of the code.

    Args:
        settings: parameters, versions and device type, as JSON values.
        files: inputs and sources, hashed by content; folders are read in sorted order.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(Path(file) for file in files):
        for part in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(part.name.encode())
            with open(part, "rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:20]


def write(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write a checkpoint atomically: if the process dies, either the old or the new file is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, {"facts": json.dumps(facts)})
    with file_written_whole(path, shared=True) as part:  # the same training may run twice at once, as queued experiments
        part.write_bytes(stored)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and facts of a checkpoint, or None if the file does not exist."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as stored:
        names: list[str] = list(stored.keys())  # a handle on a file, not a dict: it cannot be iterated itself
        return {name: stored.get_tensor(name) for name in names}, json.loads(stored.metadata()["facts"])


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as flat tensors named ``optimizer.<parameter number>.<key>``."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{number}.{key}": value for number, keys in state.items() for key, value in keys.items() if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the state that ``optimizer_tensors`` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
