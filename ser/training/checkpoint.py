"""Checkpoints of interrupted trainings, outside the pipeline's outputs, used only by an identical training.

A file holds tensors as safetensors, the rest as their JSON metadata, and a SHA-256 of both at its end. So
reading a checkpoint runs no code from it, and a damaged one is never used; nor is another's, because it holds its name and its folder's,
which is the fingerprint of the training.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from ser.runtime.disk import file_written_whole, place_named
from ser.runtime.reading import read_json, written_by

log = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"
CHECKSUM_BYTES = hashlib.sha256().digest_size


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
    about = {"facts": json.dumps(facts), "of": _name(path)}
    stored = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, about)
    with place_named(path), file_written_whole(path, shared=True) as part:  # shared: without file locks, two trainings may write at once
        part.write_bytes(stored + hashlib.sha256(stored).digest())


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and facts of a checkpoint, or None if the file does not exist, is damaged, or is of another training, fold or seed.

    What is not used is renamed to ``<name>.damaged``, and a warning names both.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    stored, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if hashlib.sha256(stored).digest() != checksum:
        _set_aside(path, "damaged")
        return None
    header = int.from_bytes(stored[:8], "little")  # safetensors: the length of the header, the header as JSON, the values
    about = json.loads(stored[8 : 8 + header])["__metadata__"]
    if about["of"] != _name(path):
        _set_aside(path, f"the checkpoint {about['of']}")
        return None
    return load(stored), json.loads(about["facts"])


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _set_aside(path: Path, what: str) -> None:
    aside = path.with_name(f"{path.name}.damaged")
    with suppress(FileNotFoundError):  # another rank of this training has renamed it
        os.replace(path, aside)
    log.warning("%s is %s: it is now %s, and this training begins anew", path, what, aside.name)


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Use the checkpoints in ``folder`` exclusively: an identical training waits.

    Identical trainings may run at the same time, as queued experiments that differ in evaluation only. Each
    waits until the one before it has ended, and resumes from its finished checkpoints. The last one removes
    them. After an error they stay.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    users, turn = (folder.with_name(f"{folder.name}.{kind}") for kind in ("users", "lock"))
    with _locked(users, fcntl.LOCK_SH) as here, _locked(turn, fcntl.LOCK_EX):
        yield
        with suppress(BlockingIOError):  # another one waits, and will need the checkpoints
            fcntl.flock(here, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            turn.unlink()
            users.unlink()


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[IO[str]]:
    """Hold a lock on the file ``path``. The system releases it when the process ends, however it ends."""
    while True:
        with open(path, "a") as file:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("%s: an identical training runs: waiting for its result", path.stem)
                fcntl.flock(file, kind)
            if _is(file, path):
                yield file
                return


def _is(file: IO[str], path: Path) -> bool:
    """Whether the path still names this file. The one that held the lock may have removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def write_checksums(folder: Path) -> None:
    """Write ``checksums.json``: the SHA-256 of each file of weights in ``models/<corpus>``."""
    sums = {path.name: _sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in ``models/<corpus>/<file>``.

    Raises:
        DamagedError: if the file is damaged. A file without ``checksums.json`` beside it is only parsed.
    """
    stage, corpus, sums = "train", path.parent.name, path.with_name(CHECKSUMS)
    with written_by(stage, corpus, path):
        if sums.exists() and read_json(sums, stage, corpus).get(path.name) != _sha256(path):
            raise ValueError(f"its SHA-256 is not the one in {CHECKSUMS}")
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(str(error)) from None


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
