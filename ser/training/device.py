"""Choose and set up the device that torch runs on."""

from __future__ import annotations

import os

import torch

from ser import SerError
from ser.params.runtime import Runtime
from ser.runtime.machine import keep_freed_memory, threads


def set_up(runtime: Runtime, deterministic: bool = True) -> torch.device:
    """Device, threads and determinism for this process.

    Args:
        runtime: ``runtime`` of params.yaml; ``device: auto`` takes cuda, else mps, else cpu.
        deterministic: allow only kernels that give the same bytes in every run, and of CUDA only those that compute in float32.

    Raises:
        SerError: if the requested device is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(kind for kind, there in available.items() if there) if runtime.device == "auto" else runtime.device
    if not available[name]:
        raise SerError(f"runtime.device is {name}, which torch does not find on this machine; use auto or cpu")
    torch.set_num_threads(threads(runtime))
    # Activations of a batch take tens of megabytes; to map them anew in each step takes a fifth of the step
    # on a CPU.
    keep_freed_memory()
    torch.use_deterministic_algorithms(deterministic and name != "mps")
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.allow_tf32 = not deterministic  # on by default: convolutions with 10 bits of fraction, where fp32 has 23
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device(name)
