"""Kernels of numerical libraries: chosen before they are imported, whatever the environment says."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ser import SerError
from ser.runtime import kernels
from tests.pipeline import AGAINST, ROOT

FLAGS = "processor\t: 0\nflags\t\t: fpu sse2 avx2 bmi1 bmi2 f16c fma movbe\n"

needs_avx2 = pytest.mark.skipif(not kernels.shared(), reason="no x86-64 processor with AVX2 on Linux")


def ran(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter in which no kernels have been chosen."""
    plain = {name: value for name, value in os.environ.items() if name not in kernels.OF_NUMPY | kernels.OF_TORCH}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**plain, **environment}, timeout=600)


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (FLAGS, True),
        (FLAGS.replace("fma ", ""), False),
        (FLAGS.replace("avx2", "avx"), False),
        ("processor\t: 0\nFeatures\t: fp asimd sve\n", False),
        ("", False),
        ("flags" * 100_000, False),
        (None, False),
    ],
)
def test_what_a_processor_says_of_itself(tmp_path, monkeypatch, told, found):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    if told is not None:
        (tmp_path / "cpuinfo").write_text(told)
    assert kernels.shared(tmp_path / "cpuinfo") == found
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not kernels.shared(tmp_path / "cpuinfo")


@needs_avx2
def test_a_stage_chooses_the_kernels_of_all_libraries_whatever_the_environment_says():
    code = """
import json, sys
import stages.train, stages.evaluate
assert "torch" not in sys.modules
import numpy, scipy.linalg, torch
from threadpoolctl import threadpool_info
found = {i["architecture"] for i in threadpool_info() if i["internal_api"] == "openblas"}
features = numpy._core._multiarray_umath.__cpu_features__
used = [name for name in ("X86_V3", "X86_V4", "AVX512_ICL", "AVX512_SPR") if features[name]]
print(json.dumps([sorted(found), torch.backends.cpu.get_cpu_capability(), used]))
"""
    done = ran(code, **AGAINST)
    assert json.loads(done.stdout) == [["Haswell"], "AVX2", ["X86_V3"]], done.stderr


@needs_avx2
def test_a_stage_says_that_a_library_was_there_before_it():
    done = ran(
        "import numpy\nfrom stages import command\nimport sys\nsys.argv=['x', '--dataset', 'demo']\ncommand.run(command.parser(''), print)"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: numpy was imported before the stage could choose kernels")


@needs_avx2
def test_native_frees_torch_and_its_processes_and_nothing_else():
    child = "import stages; from ser.runtime import kernels; print(kernels.now(), kernels.pinned(kernels.OF_NUMPY))"
    code = f"""
import subprocess, sys
import stages
from ser.runtime import kernels
kernels.choose("portable")
print(kernels.now())
kernels.choose("native")
print(kernels.now(), flush=True)
subprocess.run([sys.executable, "-c", {child!r}], check=True)
"""
    assert ran(code, **AGAINST).stdout.split() == ["portable", "native", "native", "True"]


@needs_avx2
def test_a_process_whose_torch_has_begun_cannot_change_over(monkeypatch):
    for name, value in kernels.OF_TORCH.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "torch", sys)
    kernels.choose("portable")
    with pytest.raises(SerError, match=r"torch was imported with portable kernels, and train\.kernels is native"):
        kernels.choose("native")


def test_elsewhere_nothing_is_chosen(monkeypatch):
    for name in kernels.OF_NUMPY | kernels.OF_TORCH:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    kernels.pin()
    kernels.check()
    kernels.choose("portable")
    assert kernels.environment() == {}
    assert kernels.now() == "native"
