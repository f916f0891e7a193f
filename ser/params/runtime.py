"""``runtime``: how it runs, never what it computes. No stage depends on this section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ser.params.base import Section

MOST = 4096
"""Workers, threads or devices at most."""
Count = Annotated[int, Field(ge=1, le=MOST)] | Literal["auto"]


class Runtime(Section):
    device: Literal["auto", "cpu", "cuda", "mps"]
    """auto: cuda, else mps, else cpu."""
    devices: Count
    """GPUs (on a CPU: processes) that train one network together, from 1. auto: one, or more if GPUs
    outnumber folds × seeds."""
    threads: Count
    """torch CPU threads of each training, from 1; auto: one, with folds in parallel."""
    workers: Count
    """Worker processes of preprocess, features and encode, and of training on a CPU, from 1; auto: one per core."""
    scheduler: str | None = Field(pattern=r"^(tcp|tls)://")
    """Address of a Dask scheduler for preprocess, features and encode, instead of local processes."""
    mirror: str | None
    """Folder or http(s) address with ``<corpus>/<archive>`` and ``encoders/<name>/``, tried before the
    official one; SER_MIRROR takes precedence."""
    cache_dir: str | None
    """Folder of archives, encoders and checkpoints, outside the repository; null: ~/.cache/ser. SER_CACHE_DIR
    takes precedence."""
