"""What a worker may not do, the parts of the page that need no server, and the command."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import psutil
import pytest
import soundfile as sf

from ser import SerError
from ser.serving import bundle as bundles
from ser.serving import cli
from ser.serving.page.document import Page
from ser.serving.page.limits import Limits
from ser.serving.page.listen import chosen_token, listening
from ser.serving.page.pool import Worker
from ser.serving.page.question import Question
from ser.serving.page.upload import shown
from tests.serving import small


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the address space")
def test_a_worker_has_an_end_of_memory_and_writes_no_file(tmp_path):
    code = """
from ser.serving.page.worker import limited
limited(50)
bytearray(20_000_000)
try:
    bytearray(100_000_000)
except MemoryError:
    print("memory")
try:
    open("kept", "wb", buffering=0).write(b"x")
except OSError as error:
    print(error.strerror)
"""
    environment = {**os.environ, "PYTHONPATH": str(small.ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines() == ["memory", "File too large"]
    assert (tmp_path / "kept").stat().st_size == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the address space")
def test_a_recording_that_takes_too_much_memory_is_refused(folder):
    bomb = io.BytesIO()  # five minutes of nothing
    sf.write(bomb, np.zeros(300 * 192_000, dtype=np.int16), 192_000, "PCM_16", format="FLAC")
    assert len(bomb.getvalue()) < 1_000_000
    worker = Worker(folder, bundles.read(folder), Limits(megabytes=1, memory_megabytes=60))
    try:
        assert worker.ask(Question("short"), small.wav(small.sound()).read(), 300)[0] == 200
        status, body = worker.ask(Question("bomb"), bomb.getvalue(), 300)
        assert (status, json.loads(body)["reason"]) == (422, "memory")
        assert worker.ask(Question("short"), small.wav(small.sound()).read(), 300)[0] == 200
    finally:
        worker.kill()
    assert worker.process_id is not None
    assert not psutil.pid_exists(worker.process_id)


def test_a_bundle_that_cannot_be_opened_is_a_message(tmp_path):
    small.write(tmp_path / "made")
    (tmp_path / "made" / bundles.MODEL).write_bytes(b"damaged")
    with pytest.raises(SerError, match="other checksum"):
        Worker(tmp_path / "made", bundles.read(tmp_path / "made"), Limits())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("x.wav", "x.wav"), ("", "recording"), (" \t\n", "recording"), ("\u202egpj.wav", "gpj.wav"), ("a\0b", "ab"), ("ж" * 300, "ж" * 200)],
)
def test_a_name_is_fit_to_be_shown(name, expected):
    assert shown(name) == expected


# the page


def test_the_page_fetches_nothing_and_runs_nothing_but_its_own(folder):
    facts = bundles.read(folder).model_copy(update={"corpus": "<b>x</b>", "classes": ["</script><script>alert(1)", "sad"]})
    page = Page.of(facts, Limits())
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", page.html))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"<!--|\son\w+=|\sstyle=|<link(?! rel=\"icon\" href=\"data:,\")|@import|url\((?!#)", page.html)
    assert "<b>" not in page.html
    styles, scripts = (re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", page.html, re.S) for tag in ("style", "script"))
    assert json.loads(scripts[0])["classes"] == facts.classes
    assert len(scripts) == 2
    for text, directive in ((styles[0], "style-src"), (scripts[1], "script-src")):
        assert f"{directive} 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in page.policy
    assert "unsafe" not in page.policy


def test_the_page_says_how_good_the_model_is(folder):
    score = bundles.Score(ua=0.769, ua_interval=[0.711, 0.818], confidence=0.95, wa=0.7, macro_f1=0.7, clips=1439, chance_ua=0.125)
    facts = bundles.read(folder).model_copy(update={"score": score, "speaker_independent": True, "protocol": "official"})
    assert "UA 76.9 % [71.1, 81.8] on 1,439 clips of new speakers; chance 12.5 %" in Page.of(facts, Limits()).html
    heard = facts.model_copy(update={"speaker_independent": False, "notice": "synthetic: no result"})
    assert "speakers heard in training" in Page.of(heard, Limits()).html
    assert "Synthetic: no result" in Page.of(heard, Limits()).html


# the command


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "uvicorn" else found(name, *more))
    with pytest.raises(SystemExit, match=r"error: ser serve needs uvicorn: pip install 'ser\[serve\]'"):
        cli.main(["serve"])


@pytest.mark.parametrize(
    "words",
    [["--port", "65536"], ["--port", "-1"], ["--port", "x"], ["--max-mb", "0"], ["--max-mb", "nan"], ["--max-minutes", "601"], ["-j", "0"]],
)
def test_numbers_out_of_range_are_refused(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["serve", *words])
    assert "allowed: a " in capsys.readouterr().err


def test_a_taken_port_and_a_foreign_address_are_messages():
    with listening("127.0.0.1", 0) as bound:
        bound.listen()
        with pytest.raises(SerError, match=r"cannot listen on 127\.0\.0\.1, port"):
            listening("127.0.0.1", bound.getsockname()[1])
    with pytest.raises(SerError, match="choose another --port or --host"):
        listening("192.0.2.1", 0)


def test_a_token_is_made_where_other_machines_reach_the_server():
    assert chosen_token(None, local=True) == ""
    assert len(chosen_token(None, local=False)) >= 32
    assert chosen_token(None, local=False) != chosen_token(None, local=False)
    assert chosen_token("abcdefghijkl", local=True) == "abcdefghijkl"
    for bad in ("", "short", "with space in it", "ä" * 20, "a&b=c" * 9):
        with pytest.raises(SerError, match="--token"):
            chosen_token(bad, local=False)


def test_the_command_serves_says_where_and_ends_with_its_workers(tmp_path):
    small.write(tmp_path / "exports/made")
    command = [sys.executable, "-m", "ser", "serve", "--port", "0", "--host", "0.0.0.0", "--max-minutes", "2"]
    environment = {**os.environ, "PYTHONPATH": str(small.ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            found = re.fullmatch(r"http://.*:(\d+)/\?token=([\w-]{32,})  \(Ctrl-C ends it\)\n", running.stdout.readline())
            assert found
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/?token={found[2]}", timeout=300) as page:
                assert b"at most 50 MB and 2 minutes" in page.read()
            children = psutil.Process(running.pid).children(recursive=True)
            assert children
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=300)
        finally:
            running.kill()
    assert running.returncode == 130
    assert said.splitlines()[0].startswith("exports/made: made, 2 network(s)")
    assert "not encrypted" in said
    assert "Traceback" not in said
    assert psutil.wait_procs(children, timeout=30)[1] == []
