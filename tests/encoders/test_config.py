"""``config.json`` and the folder of an encoder, as a user may have left them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ser import SerError
from ser.encoders import frozen, weights
from ser.params.encoder import Encoder


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"5", b"{}", b'{"model_type": 5}', b'{"model_type": null}', b"[" * 100_000, b"\xff", b"{" + b" " * (17 << 20)]
)
def test_what_describes_no_encoder_is_one_message(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(SerError, match=r"config\.json"):
        frozen.read_config(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(SerError, match=r"config\.json: no regular file"):
        frozen.read_config(tmp_path)


def test_a_home_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    settings = Encoder(name="mine", path="~nobody-of-this-name/e", layers=[0])
    with pytest.raises(SerError, match="no such home folder"):
        weights.obtain(settings, mirror=None, cache=tmp_path)
