"""``runtime``: how it runs, never what it computes. No stage depends on this section."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ser.params.base import Section


class Runtime(Section):
    device: Literal["auto", "cpu", "cuda", "mps"]
    """auto: cuda, else mps, else cpu."""
    threads: int | Literal["auto"]
    """torch CPU threads of each training; auto: one, with folds side by side."""
    workers: int | Literal["auto"]
    """Processes of preprocess and features, and folds trained side by side on a CPU; auto: one per core."""
    scheduler: str | None = Field(pattern=r"^(tcp|tls)://")
    """Address of a Dask scheduler that preprocess and features shall use instead of local processes."""
    mirror: str | None
    """Folder or http(s) address with ``<corpus>/<archive>``, looked at before the official one; SER_MIRROR wins."""
    cache_dir: str | None
    """Where archives and checkpoints live outside the repository; SER_CACHE_DIR wins; null: ~/.cache/ser."""
