"""Choose and set up the device that torch runs on."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

from ser import SerError
from ser.params.runtime import Runtime
from ser.runtime.machine import threads


def set_up(runtime: Runtime, deterministic: bool = True) -> torch.device:
    """Device, threads and determinism for this process.

    Args:
        runtime: ``runtime`` of params.yaml; ``device: auto`` takes cuda, else mps, else cpu.
        deterministic: allow only kernels that give the same bytes in every run.

    Raises:
        SerError: if the requested device is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(kind for kind, there in available.items() if there) if runtime.device == "auto" else runtime.device
    if not available[name]:
        raise SerError(f"runtime.device is {name}, which torch does not find on this machine; use auto or cpu")
    torch.set_num_threads(threads(runtime))
    _keep_memory()
    torch.use_deterministic_algorithms(deterministic and name != "mps")
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device(name)


def _keep_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the kernel after every step.

    Activations of a batch take tens of megabytes. By default malloc maps and unmaps them in each step, and
    the page faults take a fifth of the step on a CPU.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not in every libc
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4  # names of malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**26)
