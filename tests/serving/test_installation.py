"""`pip install .`: what the wheel holds and asks for, and that `ser predict` needs nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import soundfile as sf

from ser import __version__
from tests.serving import installed, small

LABORATORY = {"torch", "dvc", "pandas", "scikit-learn", "matplotlib", "onnx", "librosa", "ruamel-yaml", "requests"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed.built(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle and a recording."""
    folder = tmp_path_factory.mktemp("place")
    small.write(folder / "exports/made")
    sf.write(folder / "x.wav", small.sound(), 16_000)
    return folder


def test_the_wheel_asks_for_ranges_and_for_nothing_of_the_laboratory(wheel: Path) -> None:
    asked = installed.metadata(wheel).get_all("Requires-Dist") or []
    plain = [one for one in asked if "extra ==" not in one]
    assert {installed.named(one) for one in plain} == {
        "numpy", "onnxruntime", "pydantic", "scipy", "soundfile", "soxr", "tqdm", "webrtcvad-wheels",
    }  # fmt: skip
    assert not [one for one in asked if "==" in one.split(";")[0]]
    assert {installed.named(one) for one in asked if "extra == 'lab'" in one or 'extra == "lab"' in one} >= LABORATORY
    assert installed.metadata(wheel)["Version"] == __version__


def test_the_laboratory_is_what_make_repro_pins(wheel: Path) -> None:
    asked = installed.metadata(wheel).get_all("Requires-Dist") or []
    pinned = [installed.named(line) for line in (small.ROOT / "requirements.txt").read_text().splitlines()]
    assert sorted({installed.named(one) for one in asked if "extra ==" not in one or "lab" in one.split("extra")[-1]}) == sorted(pinned)


def test_the_wheel_holds_ser_alone_and_all_files_that_it_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = [name for name in packed.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"ser"}
    there = {path.relative_to(small.ROOT).as_posix() for path in (small.ROOT / "ser").rglob("*") if path.is_file()}
    assert {path for path in there - set(names) if "__pycache__" not in path} == set()


def test_without_every_other_package_it_predicts(wheel: Path, place: Path) -> None:
    asked = [one for one in installed.metadata(wheel).get_all("Requires-Dist") or [] if "extra ==" not in one]
    allowed = installed.packages(asked) | {"ser"}
    assert not {"torch", "pandas", "ruamel", "threadpoolctl", "yaml", "stages"} & allowed
    code = installed.BLOCKED.format(allowed=allowed) + "from ser.serving.cli import main\nmain(['predict', 'x.wav'])"
    environment = {**os.environ, "PYTHONPATH": str(wheel)}  # a wheel of pure Python runs packed
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.search(r"x\.wav  2\.5 s, .* kept\n  (neutral|happy|sad) ", done.stdout)


def test_the_block_is_one() -> None:
    code = installed.BLOCKED.format(allowed={"ser", "numpy"}) + "import numpy, pandas"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "No module named 'pandas'" in done.stderr


def test_the_command_says_its_version() -> None:
    done = subprocess.run([sys.executable, "-m", "ser", "--version"], cwd=small.ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"ser {__version__}\n"


@pytest.mark.slow
def test_a_fresh_environment_predicts(wheel: Path, place: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=120)
    done = subprocess.run([venv / "bin/pip", "install", "--quiet", wheel], capture_output=True, text=True, timeout=600)
    if "NewConnectionError" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [venv / "bin/ser", "predict", "x.wav", "--csv"]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    size = sum(path.lstat().st_size for path in venv.rglob("*") if path.is_file() and "/pip/" not in path.as_posix())
    assert size <= 350_000_000
