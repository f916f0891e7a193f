"""``runtime``: how it runs, never what it computes. No stage depends on this section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ser.params.base import Section

Count = Annotated[int, Field(ge=1)] | Literal["auto"]


class Runtime(Section):
    device: Literal["auto", "cpu", "cuda", "mps"]
    """auto: cuda, else mps, else cpu."""
    devices: Count
    """GPUs (on a CPU: processes) that train one network together, from 1; auto: one, or more where GPUs outnumber folds × seeds."""
    threads: Count
    """torch CPU threads of each training, from 1; auto: one, with folds side by side."""
    workers: Count
    """Processes of preprocess, features and encode, and of trainings on a CPU, from 1; auto: one per core."""
    scheduler: str | None = Field(pattern=r"^(tcp|tls)://")
    """Address of a Dask scheduler that preprocess, features and encode shall use instead of local processes."""
    mirror: str | None
    """Folder or http(s) address with ``<corpus>/<archive>`` and ``encoders/<name>/``, looked at before official ones; SER_MIRROR wins."""
    cache_dir: str | None
    """Where archives, encoders and checkpoints live outside the repository; SER_CACHE_DIR wins; null: ~/.cache/ser."""
