"""`POST /predict` over a real connection: the answers of `ser predict`, and everything else refused in words."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import psutil
import pytest

from ser import load
from ser.params import load as load_params
from ser.serving import cli
from ser.serving.page.app import Server
from ser.serving.page.limits import Limits
from ser.serving.page.listen import listening
from ser.serving.page.picture import picture
from ser.serving.predict import Predictor
from ser.views.spectrum import frame_count
from tests.serving import served as served_module
from tests.serving import small
from tests.serving.served import Served, served

ROOT = Path(__file__).parents[2]
RECORDING = small.wav(small.sound(4)).read()
SMALL = Limits(megabytes=0.3, minutes=0.1, jobs=0, waiting=2, upload_seconds=1.0)
TOKEN = "abcdefghijkl"


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Served]:
    """A server with one worker."""
    with served(folder, Limits(minutes=0.5, seconds=600.0, waiting=0)) as running:
        yield running


@pytest.fixture(scope="module")
def door(folder: Path) -> Iterator[Served]:
    """A server without a worker, for what is refused before one is asked."""
    with served(folder, SMALL) as running:
        yield running


def test_the_answer_is_that_of_the_command_and_of_python(page, folder, tmp_path, capsys):
    path = tmp_path / "x.wav"
    path.write_bytes(RECORDING)
    given = page.predict(RECORDING, f"?timeline=1&name={quote(str(path))}").json
    timeline = given.pop("timeline")
    for words, expected in ((["--json"], given), (["--timeline", "--json"], {"timelines": [timeline]})):
        with pytest.raises(SystemExit, match="0"):
            cli.main(["predict", str(path), "--bundle", str(folder), *words])
        assert json.loads(capsys.readouterr().out) == expected
    found = load(folder).predict(path)
    assert given["predictions"][0]["probabilities"] == pytest.approx(found.probabilities, abs=1e-3)
    assert timeline["moments"]


def test_the_picture_fits_the_recording(page, folder):
    found = page.predict(RECORDING, "?picture=1").json["picture"]
    assert found["seconds"] == 4
    assert len(found["low"]) == len(found["high"]) == 1200
    assert -1 <= min(found["low"]) < 0 < max(found["high"]) <= 1
    features = load(folder).bundle.features
    bands, columns = features.log_mel.n_mels, frame_count(4 * 16000, features.frames)
    assert (found["log_mel"]["bands"], found["log_mel"]["columns"]) == (bands, columns)
    assert len(base64.b64decode(found["log_mel"]["values"])) == bands * columns
    assert {side: len(weights) for side, weights in found["attention"].items()} == {"cnn": columns, "transformer": columns}
    assert set(page.predict(RECORDING).json) == {"bundle", "predictions"}


@pytest.mark.parametrize("keep", ["trim", "concatenate", "mask"])
def test_attention_lies_where_the_sound_was_judged(tmp_path, keep):
    silence = np.zeros(16000)
    signal = np.concatenate([silence, small.sound(1, 1), silence, small.sound(1, 2), silence])
    settings = load_params(ROOT / "params.yaml").preprocess
    preprocess = settings.model_copy(update={"vad": settings.vad.model_copy(update={"keep": keep})})
    predictor = Predictor(small.write(tmp_path / "made", attention=["cnn"], preprocess=preprocess))
    (looked,) = picture(predictor, small.wav(signal))["attention"].values()
    per_second = np.array(looked[:250]).reshape(5, 50).mean(axis=1)  # 20 ms a frame
    assert len(looked) == 251
    assert min(per_second[[1, 3]]) > 2 * max(per_second[[0, 2, 4]])
    if keep != "mask":
        assert max(per_second[[0, 4]]) < 0.5  # the detector keeps a little of it
    judged = 5 if keep == "mask" else predictor.recording("", lambda: small.wav(signal)).speech_seconds
    assert np.sum(looked) / 50 == pytest.approx(judged, abs=0.1)  # 1 is the mean over all that was judged


def test_a_model_without_attention_shows_none(tmp_path):
    assert picture(Predictor(small.write(tmp_path / "made")), small.wav(small.sound(1)))["attention"] == {}


def shaped(value: Any, schema: dict[str, Any], components: dict[str, Any]) -> bool:
    """Whether a value has exactly the fields that a schema names, or any fields of the shape that it names for all."""
    schema = components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "additionalProperties" in schema:
        return isinstance(value, dict) and all(shaped(one, schema["additionalProperties"], components) for one in value.values())
    if isinstance(value, dict):
        return set(schema["required"] if "required" in schema else schema["properties"]) <= set(value) <= set(schema["properties"]) and all(
            shaped(one, schema["properties"][name], components) for name, one in value.items()
        )
    return all(shaped(one, schema["items"], components) for one in value) if isinstance(value, list) else "properties" not in schema


def test_the_description_is_of_what_is_sent(page):
    document = page.ask("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1")
    assert document["paths"]["/predict"]["post"]["description"].startswith("At most 50 MB and ")
    responses = document["paths"]["/predict"]["post"]["responses"]
    for answered in (page.predict(RECORDING, "?timeline=1&picture=1"), page.predict(RECORDING), page.predict(b"x"), page.predict(b"")):
        schema = responses[str(answered.status)]["content"]["application/json"]["schema"]
        assert shaped(answered.json, schema, document["components"]["schemas"])
    assert not shaped({"reason": ""}, {"$ref": "#/components/schemas/Problem"}, document["components"]["schemas"])


SILENCE, LONG = (small.wav(np.zeros(round(seconds * 16000))).read() for seconds in (1, 31))
CLIPPED = small.wav(np.sign(np.sin(np.arange(16000) / 9))).read()


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"no recording" * 99, 415, "unreadable"),
        (b"\0", 415, "unreadable"),
        (RECORDING[:44], 422, "empty"),
        (RECORDING[:600], 422, "too_short"),
        (SILENCE, 422, "silent"),
        (CLIPPED, 422, "clipped"),
        (LONG, 413, "too_long"),
        (b"%PDF-1.7" + bytes(500), 415, "unreadable"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_words_and_the_next_is_judged(page, body, status, reason):
    answered = page.predict(body)
    assert (answered.status, answered.json["reason"]) == (status, reason)
    assert answered.json["problem"].startswith(f"{reason}: ")
    assert answered.headers["content-type"] == "application/json"
    assert page.predict([RECORDING[:100], RECORDING[100:]]).status == 200  # chunked, too


def test_a_name_is_only_shown(page):
    for name, shown in (
        ("<img src=x>", "<img src=x>"),
        ("../../etc/passwd", "../../etc/passwd"),
        ("a\x1b[2J\u202e\r\nb", "a[2Jb"),
        ("", "recording"),
        ("ä" * 5000, "ä" * 200),
    ):
        assert page.predict(RECORDING, f"?name={quote(name)}").json["predictions"][0]["path"] == shown


def killed(server: Server, process: int) -> None:
    (worker,) = (one for one in server.pool._living if one.process_id == process)
    os.kill(process, signal.SIGKILL)
    while worker.lives:
        time.sleep(0.01)


def test_a_worker_that_dies_over_a_recording_is_replaced(page):
    (before,) = page.server.pool.process_ids()
    os.kill(before, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(page.predict, RECORDING)
        while not page.server.pool._idle.empty():
            time.sleep(0.01)
        time.sleep(0.1)  # until the recording lies in the worker's pipe
        os.kill(before, signal.SIGKILL)
        assert (asked.result().status, asked.result().json["reason"]) == (422, "ended")
    assert page.predict(RECORDING).status == 200
    assert len(page.server.pool.process_ids()) == 1


def test_a_worker_that_died_before_is_no_fault_of_the_recording(page):
    (before,) = page.server.pool.process_ids()
    killed(page.server, before)
    assert page.predict(RECORDING).status == 200
    assert before not in page.server.pool.process_ids()


def test_all_workers_answer_with_the_model_that_the_page_shows(tmp_path, capfd):
    folder = small.write(tmp_path / "made")
    with served(folder, Limits(jobs=2, seconds=600.0)) as running:
        shutil.move(folder, tmp_path / "before")
        small.write(folder, corpus="other")
        first, second = running.server.pool.process_ids()
        killed(running.server, first)
        assert [running.predict(RECORDING).json["bundle"]["corpus"] for _ in range(4)] == ["made"] * 4
        killed(running.server, second)
        end = time.monotonic() + 300
        while (answered := running.predict(RECORDING)).status == 200 or answered.json["reason"] != "model":
            assert answered.status in (200, 503)
            assert time.monotonic() < end
        assert answered.json["problem"] == f"model: {folder} holds another model than when the server started: start it again"
        shutil.rmtree(folder)
        shutil.move(tmp_path / "before", folder)
        while (answered := running.predict(RECORDING)).status != 200:
            assert time.monotonic() < end
        assert answered.json["bundle"]["corpus"] == "made"
    said = [line for line in capfd.readouterr().err.splitlines() if "another model" in line]
    assert 1 <= len(said) <= 2  # one for each worker, not one for each attempt


def test_what_nobody_waits_for_any_more_is_not_judged(page):
    (before,) = page.server.pool.process_ids()
    os.kill(before, signal.SIGSTOP)
    with page.begun(4):  # all four bytes are there
        while [page.predict(b"").status for _ in range(5)] != [503] * 5:
            pass
    end = time.monotonic() + 300
    while (answered := page.predict(RECORDING)).status == 503:
        assert time.monotonic() < end
    assert answered.status == 200
    assert not psutil.pid_exists(before)


def test_a_worker_that_takes_too_long_is_replaced(folder):
    with served(folder, Limits(seconds=1.0)) as running:
        (before,) = running.server.pool.process_ids()
        os.kill(before, signal.SIGSTOP)
        answered = running.predict(RECORDING)
        assert (answered.status, answered.json["reason"]) == (504, "too_slow")
        assert not psutil.pid_exists(before)
        end = time.monotonic() + 300
        while not running.server.pool.process_ids():
            assert time.monotonic() < end
            time.sleep(0.05)


# before a worker is asked

BIG = b"x" * 200_000


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"", {}, 400, "empty"),
        (None, {"Content-Length": "300001"}, 413, "too_large"),
        (None, {"Content-Length": "9" * 20}, 413, "too_large"),
        ([BIG, BIG], {}, 413, "too_large"),
        ([BIG] * 30, {}, 413, "too_large"),
        (b"{}", {"Content-Type": "application/json"}, 415, "content_type"),
        (b"--x", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "content_type"),
        (b"a", {"Content-Type": "text/plain"}, 415, "content_type"),
        (b"a", {"Content-Encoding": "gzip"}, 415, "content_type"),
        (b"a", {"Host": "evil.example"}, 403, "wrong_host"),
        (b"a", {"Host": "127.0.0.1.evil.example:8000"}, 403, "wrong_host"),
        (b"a", {"Host": "user@127.0.0.1@evil.example"}, 403, "wrong_host"),
        (b"a", {"Host": "[::"}, 403, "wrong_host"),
        (b"a", {"Origin": "http://evil.example"}, 403, "wrong_origin"),
        (b"a", {"Origin": "null"}, 403, "wrong_origin"),
        (b"a", {"Origin": "http://[::"}, 403, "wrong_origin"),
        (b"a", {"Origin": "http://127.0.0.1:1"}, 403, "wrong_origin"),
        (b"a", {"Sec-Fetch-Site": "cross-site"}, 403, "wrong_origin"),
        (b"a", {"Sec-Fetch-Site": "same-site"}, 403, "wrong_origin"),
    ],
)
def test_a_request_is_refused_before_it_is_judged(door, body, headers, status, reason):
    try:
        answered = door.predict(body, **headers)
    except ConnectionError:  # a client that sends on and on is cut off
        assert body == [BIG] * 30
        return
    assert (answered.status, answered.json["reason"]) == (status, reason)
    assert answered.json["problem"].startswith(f"{reason}: ")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("PUT", "/predict", 405), ("GET", "/../page.py", 404), ("GET", "/page.js", 404)],
)
def test_there_is_nothing_else(door, method, path, status):
    answered = door.ask(method, path)
    assert answered.status == status
    assert set(answered.json) == {"reason", "problem"}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "127.3.2.1"])
def test_names_of_this_machine_are_answered(door, host):
    assert door.ask("GET", "/", headers={"Host": host}).status == 200
    assert door.predict(b"", Host=host, Origin=f"http://{host}").status == 400


def test_every_answer_tells_browsers_to_keep_to_themselves(door):
    for path in ("/", "/openapi.json", "/predict", "/nothing"):
        headers = door.ask("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_an_upload_that_stops_is_given_up(door):
    with door.begun() as connection:
        answered = b"".join(iter(lambda: connection.recv(65536), b""))  # it is closed, too
    assert answered.startswith(b"HTTP/1.1 408 ")
    assert b"slow_upload" in answered


def test_beyond_the_queue_a_client_is_told_to_come_again(folder):
    with served(folder, Limits(jobs=0, waiting=2)) as running:
        open_ones = [running.begun() for _ in range(2)]
        end = time.monotonic() + 300
        while (answered := running.predict(b"")).status != 503:  # until the server has heard of both
            assert time.monotonic() < end
        assert answered.json["reason"] == "busy"
        assert int(answered.headers["retry-after"]) >= 1
        for one in open_ones:
            one.close()
        while running.predict(b"").status == 503:
            assert time.monotonic() < end


def test_a_token_is_needed_where_there_is_one(folder):
    known = {"Authorization": f"Bearer {TOKEN}"}
    with served(folder, SMALL, TOKEN) as running:
        for method, path, headers, status in (
            ("GET", "/", {}, 401),
            ("GET", "/?token=abcdefghijkx", {}, 401),
            ("GET", f"/?token={TOKEN}", {}, 200),
            ("GET", f"/?token={TOKEN}", {"Host": "speech.example"}, 200),
            ("GET", f"/openapi.json?token={TOKEN}", {}, 401),
            ("GET", "/openapi.json", known, 200),
            ("POST", "/predict", {}, 401),
            ("POST", f"/predict?token={TOKEN}", {}, 401),
            ("POST", "/predict", {"Authorization": f"Basic {TOKEN}"}, 401),
            ("POST", "/predict", {"Authorization": "Bearer ä"}, 401),
            ("POST", "/predict", known, 400),
            ("POST", "/predict", {**known, "Origin": "http://evil.example"}, 403),
        ):
            assert running.ask(method, path, b"" if method == "POST" else None, headers).status == status, (path, headers)
        assert running.ask("GET", "/openapi.json", headers=known).json["security"] == [{"token": []}]


@pytest.mark.slow
def test_eight_clients_ask_three_hundred_times(folder, tmp_path):
    recordings = [small.wav(small.sound(2, seed)).read() for seed in range(8)]
    with served(folder, Limits(waiting=8)) as running, ThreadPoolExecutor(8) as clients:
        (worker,) = running.server.pool.process_ids()
        memory = []
        for _ in range(6):
            statuses = list(clients.map(lambda number: running.predict(recordings[number % 8]).status, range(50)))
            assert statuses == [200] * 50
            memory.append(psutil.Process(worker).memory_info().rss)
        assert running.server.pool.process_ids() == [worker]
        assert max(memory) < memory[0] + 30e6


@pytest.mark.parametrize(
    "begin", [b"", b"GET / HTTP/1.1\r\nX: ", b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX: "]
)
def test_a_connection_that_asks_nothing_is_closed(folder, begin):
    """Each of them holds one of the places for connections: 128 that say nothing would keep everyone else out for ever."""
    with served(folder, replace(SMALL, head_seconds=0.2)) as running, socket.create_connection(("127.0.0.1", running.port), 10) as silent:
        silent.sendall(begin)
        while silent.recv(1 << 16):
            pass


@pytest.mark.parametrize("asked", [1, 40])
def test_a_client_that_does_not_take_its_answers_is_given_up(folder, monkeypatch, asked):
    """Closing waits until all is sent. So 128 who take nothing would keep everyone else out, and for ever."""

    def narrow(host: str, port: int) -> socket.socket:
        bound = listening(host, port)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # what the system does not take waits in the server
        return bound

    monkeypatch.setattr(served_module, "listening", narrow)
    with served(folder, replace(SMALL, head_seconds=0.2)) as running, socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.connect(("127.0.0.1", running.port))
        idle.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * asked)
        idle.settimeout(20)
        idle.recv(1)
        end = time.monotonic() + 20
        while open_connections(running.port):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert running.ask("GET", "/").status == 200


def open_connections(port: int) -> int:
    """Sockets of this process on the server's side."""
    return sum(one.laddr.port == port and one.status != "LISTEN" for one in psutil.Process().net_connections("tcp"))


def test_a_slow_reader_gets_all_of_its_answers(folder):
    with served(folder, replace(SMALL, head_seconds=0.2)) as running, socket.create_connection(("127.0.0.1", running.port), 10) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
        received = b""
        while piece := slow.recv(1 << 18):
            received += piece
            time.sleep(0.01)
    assert received.count(b"HTTP/1.1 200 OK") == 400
    assert received.endswith(b"</html>\n")


def test_a_slow_upload_is_not_a_silent_connection(folder):
    with served(folder, replace(SMALL, head_seconds=0.2, upload_seconds=2.0)) as running, running.begun() as upload:
        assert b"408" in upload.recv(1 << 16)
