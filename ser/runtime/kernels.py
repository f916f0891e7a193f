"""Which kernels numerical libraries use: those that every x86-64 processor with AVX2 has, or the machine's own.

A library chooses its kernels by processor type when it is loaded. Kernels add in different orders, and a
training amplifies a difference in the last bit. So every stage pins all choices to what Intel's processors
since Haswell (2013) and AMD's since Zen (2017) share; only trainings may let torch choose, with
``train.kernels: native``. The choices are environment variables, which child processes inherit. They must be
made before numpy or torch is imported, so this module needs the standard library only.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ser import SerError

Kernels = Literal["portable", "native"]

OF_TORCH = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own loops
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions and their gradients
    "MKL_CBWR": "COMPATIBLE",  # products of matrices; its AVX2 mode exists on Intel only
}
"""The choices of the libraries inside torch."""

OF_NUMPY = {
    "OPENBLAS_CORETYPE": "Haswell",  # the BLAS of numpy, scipy and scikit-learn, a copy each
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # numpy's loops with AVX-512: its logarithms differ there
}
"""The choices of numpy, scipy and scikit-learn."""

NEEDED = frozenset({"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"})
"""Flags in /proc/cpuinfo of a processor that has the shared kernels."""

_LIBRARIES = ("numpy", "scipy", "sklearn", "torch")


def shared(told: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor has the shared kernels: x86-64 with AVX2, on Linux.

    Args:
        told: file in which the kernel lists the processor's flags.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        with told.open(encoding="ascii", errors="replace") as lines:
            flags = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return False
    return set(flags.split()) >= NEEDED


def pin() -> None:
    """Choose the shared kernels for this process and its children, where the processor has them.

    It replaces what the environment says. Where a numerical library is loaded already, it would come too
    late, and changes nothing: ``check`` says so.
    """
    of_native_training = pinned(OF_NUMPY) and not OF_TORCH.keys() & os.environ.keys()  # whose processes import the stage again
    if not (of_native_training or _loaded()) and shared():
        os.environ.update(OF_NUMPY | OF_TORCH)


def check() -> None:
    """Check that ``pin`` came in time.

    Raises:
        SerError: if the processor has the shared kernels, and a numerical library was loaded before they were
            chosen.
    """
    if shared() and not pinned(OF_NUMPY | OF_TORCH):
        raise SerError(
            f"{', '.join(_loaded()) or 'a library'} was imported before the stage could choose kernels, so figures would depend on this "
            "processor; run it as `python -m stages.NAME`, or import `stages` first"
        )


def choose(kernels: Kernels) -> None:
    """Let torch use the kernels that ``train.kernels`` asks for, before it is imported.

    Raises:
        SerError: if torch is imported already and uses others.
    """
    if kernels == now() or not shared():
        return
    if "torch" in sys.modules:
        raise SerError(f"torch was imported with {now()} kernels, and train.kernels is {kernels}: run the stage in a process of its own")
    if kernels == "portable":
        os.environ.update(OF_TORCH)
        return
    for name in OF_TORCH:
        os.environ.pop(name, None)


def now() -> Kernels:
    """The kernels that torch uses in this process, or will use once it is imported."""
    return "portable" if pinned(OF_TORCH) else "native"


def environment() -> dict[str, str]:
    """The variables that choose kernels and are set in this process."""
    return {name: os.environ[name] for name in OF_NUMPY | OF_TORCH if name in os.environ}


def pinned(pins: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment makes exactly these choices."""
    return all(environment.get(name) == value for name, value in pins.items())


def _loaded() -> list[str]:
    return [name for name in _LIBRARIES if name in sys.modules]
