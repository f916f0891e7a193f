"""The same bytes on processors of other kinds, which qemu emulates (docs/reproducibility.md)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ser.params.model import FUSIONS
from ser.runtime import kernels
from tests.pipeline import AGAINST, ROOT

QEMU = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
PROCESSORS = ("Haswell", "Skylake-Server", "Cascadelake-Server", "EPYC", "EPYC-Rome")

needs_qemu = [
    pytest.mark.skipif(QEMU is None, reason="qemu-user is not installed (apt-get install qemu-user-static)"),
    pytest.mark.skipif(not kernels.shared(), reason="no x86-64 processor with AVX2 on Linux"),
]


def hashes(*fusions: str, processor: str | None = None, timeout: float = 600, **environment: str) -> dict[str, str]:
    """What ``tests/emulated.py`` prints, on this processor or an emulated one."""
    interpreter = os.path.realpath(sys.executable)  # of which the emulator is given the file itself
    emulator = [] if processor is None else [str(QEMU), "-cpu", processor]
    plain = {name: value for name, value in os.environ.items() if name not in kernels.OF_NUMPY | kernels.OF_TORCH}
    paths = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
    own = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "EMULATED": processor or ""}
    words = [*emulator, interpreter, str(Path("tests/emulated.py")), *fusions]
    done = subprocess.run(words, cwd=ROOT, env={**plain, **own, **environment}, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.rsplit(" ", 1) for line in done.stdout.splitlines()]
    assert len(lines) == 10 + len(fusions)
    return {name: digest for name, digest in lines}


@pytest.mark.skipif(not kernels.shared(), reason="no x86-64 processor with AVX2 on Linux")
def test_variables_against_it_change_nothing():
    assert hashes("sum", **AGAINST) == hashes("sum")


@pytest.mark.parametrize("processor", [pytest.param("Haswell", marks=needs_qemu)])
def test_an_emulated_processor_gives_the_same_bytes(processor):
    assert hashes("parallel_coattention", processor=processor) == hashes("parallel_coattention")


@pytest.mark.slow
@pytest.mark.parametrize("processor", [pytest.param(name, marks=needs_qemu) for name in PROCESSORS])
def test_all_fusions_on_every_processor(processor):
    assert hashes(*FUSIONS.names(), processor=processor, timeout=3600) == hashes(*FUSIONS.names())
