"""docs/predict.md: what it prints can be run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ser.serving import cli
from tests.serving import small

PAGE = (small.ROOT / "docs" / "predict.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)  # any language: each end has its start
LINES = [line for language, block in BLOCKS if not language for line in block.splitlines() if line.startswith("ser ")]


@pytest.mark.parametrize("line", LINES)
def test_every_command_is_one(line: str) -> None:
    words = shlex.split(line, comments=True)
    words = words[: next((place for place, word in enumerate(words) if word in "<>"), len(words))]
    cli.parser().parse_args(words[1:])


@pytest.mark.slow
def test_every_command_runs_as_printed(tmp_path: Path) -> None:
    assert {line.split()[1] for line in LINES} == {"predict", "bundles", "enroll", "speakers", "listen"}
    sf.write(tmp_path / "meeting.wav", small.sound(6), 16_000)
    (tmp_path / "ada").mkdir()
    for seed in range(10):
        sf.write(tmp_path / "ada" / f"{seed}.wav", small.sound(2, seed), 16_000)
    (tmp_path / "meeting.raw").write_bytes((small.sound(3) * 32767).astype("<i2").tobytes())
    command = f'ser() {{ "{sys.executable}" -m ser "$@"; }}\nset -e\n' + "\n".join(LINES)
    environment = os.environ | {"PYTHONPATH": str(small.ROOT), "SER_SPEAKERS_DIR": str(tmp_path / "speakers")}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "-->" in (tmp_path / "meeting.srt").read_text()
    assert (tmp_path / "meeting.html").read_text().startswith("<!doctype html>")
    assert np.isfinite(float(next(line for line in done.stdout.splitlines() if line.startswith("'-,")).split(",")[2]))
