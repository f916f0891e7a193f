"""Fetching a corpus: mirror, earlier runs, official address, Kaggle; against a server that misbehaves."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.archives import pack
from fixtures.server import Served, Server, serving

from ser import SerError
from ser.download import kaggle as kaggle_module
from ser.download import sources, transfer, zenodo
from ser.download.fetch import FetchError, fetch, obstacle
from ser.params.corpora import Corpus

NAME = "Audio.zip"
LABELS = {"classes": [], "edition": "official"}


def md5(data: bytes) -> str:
    return "md5:" + hashlib.md5(data).hexdigest()


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("body") / NAME
    return pack(path, {f"happy/ada/{take}.wav": os.urandom(9000) for take in range(9)}).read_bytes()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(transfer, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(transfer, "UNREACHABLE_PAUSES", (0.01,))
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", "/nowhere")
    with serving() as running:
        monkeypatch.setattr(zenodo, "API", running.address + "/api/records")
        yield running


def record(server: Server, number: int, files: dict[str, bytes], **wrong: Any) -> None:
    """Publish files as Zenodo does."""
    entries = [
        {
            "key": name,
            "size": len(data),
            "checksum": md5(data),
            "links": {"self": f"{server.address}/api/records/{number}/files/{name}/content"},
        }
        | wrong
        for name, data in files.items()
    ]
    server.files[f"/api/records/{number}"] = Served(json.dumps({"id": number, "files": entries}).encode(), kind="application/json")
    for name, data in files.items():
        server.files[f"/api/records/{number}/files/{name}/content"] = Served(data)


def zenodo_corpus(number: int = 7, *archives: dict[str, Any]) -> Corpus:
    return Corpus.model_validate({"source": {"kind": "zenodo", "record": number, "archives": list(archives)}, "labels": LABELS})


def links_corpus(*archives: tuple[str, str | None, str | None], kaggle: str | None = None) -> Corpus:
    named = [{"name": name, "url": url, "checksum": checksum} for name, url, checksum in archives]
    return Corpus.model_validate({"source": {"kind": "links", "archives": named, "kaggle": kaggle}, "labels": LABELS})


def run(tmp_path: Path, corpus: Corpus, mirror: Path | str | None = None, **more: Any) -> dict[str, Any]:
    source = fetch("mine", corpus, tmp_path / "raw", mirror=None if mirror is None else str(mirror), cache=tmp_path / "cache", **more)
    assert json.loads((tmp_path / "raw/mine/source.json").read_text(encoding="utf-8")) == source
    return source


def left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "raw/mine").iterdir()) if (tmp_path / "raw/mine").is_dir() else []


def asked(server: Server) -> list[str]:
    return [path for path, _ in server.asked]


# Zenodo


def test_the_record_s_api_names_what_is_fetched(server: Server, tmp_path: Path, body: bytes) -> None:
    record(server, 7, {NAME: body, "readme.pdf": b"no archive"})
    source = run(tmp_path, zenodo_corpus())
    url = f"{server.address}/api/records/7/files/{NAME}/content"
    assert source["edition"] == "official"
    assert source["archives"] == [
        {
            "name": NAME,
            "url": url,
            "size": len(body),
            "md5": hashlib.md5(body).hexdigest(),
            "sha256": hashlib.sha256(body).hexdigest(),
            "from": "official",
        }
    ]
    assert left(tmp_path) == [NAME, "source.json"]
    assert (tmp_path / "raw/mine" / NAME).read_bytes() == body


def test_nothing_is_fetched_twice(server: Server, tmp_path: Path, body: bytes) -> None:
    record(server, 7, {NAME: body})
    first = run(tmp_path, zenodo_corpus())
    server.asked.clear()
    assert run(tmp_path, zenodo_corpus()) == first
    for path in (tmp_path / "raw/mine").iterdir():
        path.unlink()
    assert run(tmp_path, zenodo_corpus()) == first
    assert server.asked == []


def test_a_kept_archive_that_has_rotted_is_fetched_again(server: Server, tmp_path: Path, body: bytes) -> None:
    record(server, 7, {NAME: body})
    run(tmp_path, zenodo_corpus())
    for path in [tmp_path / "raw/mine" / NAME, *(tmp_path / "cache").rglob(NAME)]:
        path.write_bytes(b"rotten")
    run(tmp_path, zenodo_corpus())
    assert (tmp_path / "raw/mine" / NAME).read_bytes() == body


def test_a_pinned_checksum_that_the_api_contradicts(server: Server, tmp_path: Path, body: bytes) -> None:
    record(server, 7, {NAME: body})
    corpus = zenodo_corpus(7, {"name": NAME, "url": None, "checksum": md5(b"another edition")})
    with pytest.raises(FetchError, match=r"params\.yaml pins md5:\w+, but the record's API says md5:\w+: another edition"):
        run(tmp_path, corpus)
    assert left(tmp_path) == []


def test_a_pinned_sha256_wins_over_the_api_s_md5(server: Server, tmp_path: Path, body: bytes) -> None:
    record(server, 7, {NAME: body})
    right, wrong = (f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (body, b"x"))
    run(tmp_path, zenodo_corpus(7, {"name": NAME, "url": None, "checksum": right}))
    (tmp_path / "raw/mine" / NAME).unlink()
    with pytest.raises(FetchError, match=r"its sha256 is \w+ \(\d+ bytes\); expected \w+"):
        run(tmp_path, zenodo_corpus(7, {"name": NAME, "url": None, "checksum": wrong}))


def test_an_api_that_does_not_answer_is_no_hindrance_where_all_is_pinned(server: Server, tmp_path: Path, body: bytes) -> None:
    server.files["/direct"] = Served(body)
    server.files["/api/records/7"] = Served(status=503)
    source = run(tmp_path, zenodo_corpus(7, {"name": NAME, "url": f"{server.address}/direct", "checksum": md5(body)}))
    assert source["archives"][0]["url"] == f"{server.address}/direct"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Served(status=404), "answers 404"),
        (Served(status=403), "answers 403"),
        (Served(b"<html>maintenance</html>"), "does not describe a record's files"),
        (Served(b'{"files": 3}'), "does not describe a record's files"),
        (Served(b"[" * 100_000), "does not describe a record's files"),
        (Served(b'{"files": [{"key": "a.zip", "size": 1, "checksum": "md5:0", "links": []}]}'), "does not describe a record's files"),
        (Served(b'{"files": []}'), "no such file; it has: none"),
        (
            Served(b'{"files": [{"key": "../evil.zip", "size": 1, "checksum": "md5:0", "links": {"self": "http://x"}}]}'),
            "is not a file name",
        ),
        (Served(b'{"files": [{"key": "a.zip", "size": "1", "checksum": "md5:0", "links": {"self": "http://x"}}]}'), "size '1' of a.zip"),
        (Served(b'{"files": [{"key": "a.zip", "size": 1, "checksum": "md5:0", "links": {"self": "http://x"}}]}'), "checksum 'md5:0'"),
        (
            Served(b'{"files": [{"key": "a.zip", "size": 1, "checksum": "md5:' + b"0" * 32 + b'", "links": {"self": "file:///x"}}]}'),
            "link 'file:///x'",
        ),
    ],
    ids=["404", "403", "web page", "other json", "deep json", "links as a list", "empty", "path in a name", "size", "checksum", "link"],
)
def test_what_the_api_can_do_wrong(server: Server, tmp_path: Path, body: bytes, answer: Served, why: str) -> None:
    server.files["/api/records/7"] = answer
    with pytest.raises(FetchError, match=why) as told:
        run(tmp_path, zenodo_corpus())
    message = str(told.value)
    assert f"from: {server.address}/api/records/7" in message
    assert "put the zip or tar archives of this record, named as they are, into <folder>/mine/, and set SER_MIRROR=<folder>" in message
    assert "https://zenodo.org/records/7" in message
    record(server, 7, {NAME: body})  # a wrong answer is not remembered
    run(tmp_path, zenodo_corpus())


def test_a_named_archive_that_the_record_does_not_have(server: Server, tmp_path: Path, body: bytes) -> None:
    record(server, 7, {NAME: body})
    with pytest.raises(FetchError, match=r"other\.zip could not be fetched[\s\S]*no such file; it has: Audio\.zip"):
        run(tmp_path, zenodo_corpus(7, {"name": "other.zip", "url": None, "checksum": None}))


# failures on the way


@pytest.mark.parametrize(
    ("misdeed", "why"),
    [
        ({"status": 404}, "answers 404 Not Found"),
        ({"status": 403}, "answers 403 Forbidden"),
        ({"drops": 99, "drop_after": 0}, "the connection broke after 0 of"),
        ({"announced": 70}, "announces .* bytes instead of"),
        ({"body": b"<html>please log in</html>", "kind": "text/html"}, "web page instead of the file"),
    ],
    ids=["404", "403", "drops", "lies", "web page"],
)
def test_a_failure_names_file_address_reason_and_ways_out(
    server: Server, tmp_path: Path, body: bytes, misdeed: dict[str, Any], why: str
) -> None:
    record(server, 7, {NAME: body})
    content = server.files[f"/api/records/7/files/{NAME}/content"]
    for key, value in misdeed.items():
        setattr(content, key, value)
    with pytest.raises(FetchError, match=why) as told:
        run(tmp_path, zenodo_corpus())
    message = str(told.value)
    assert message.startswith(f"mine: {NAME} could not be fetched")
    assert f"from: {server.address}/api/records/7/files/{NAME}/content" in message
    assert f"put it at <folder>/mine/{NAME}, and set SER_MIRROR=<folder>" in message
    assert "run it again" in message
    assert left(tmp_path) == []


def test_a_rerun_goes_on_where_the_transfer_broke(server: Server, tmp_path: Path, body: bytes) -> None:
    record(server, 7, {NAME: body})
    content = server.files[f"/api/records/7/files/{NAME}/content"]
    content.ranges, content.drops, content.drop_after = False, 99, 70_000
    with pytest.raises(FetchError):
        run(tmp_path, zenodo_corpus())
    content.ranges, content.drops = True, 0
    server.asked.clear()
    run(tmp_path, zenodo_corpus())
    (again,) = [start for path, start in server.asked if path.endswith("content")]
    assert again == "bytes=65536-"
    assert (tmp_path / "raw/mine" / NAME).read_bytes() == body


def test_without_a_network_the_message_comes_at_once_and_lists_every_archive(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    corpus = links_corpus(
        ("female.zip", "https://example.org/f", md5(b"f")), ("male.zip", "https://example.org/m", md5(b"m")), kaggle="some/one"
    )
    with pytest.raises(FetchError) as told:
        run(tmp_path, corpus)
    message = str(told.value)
    assert told.value.unreachable
    assert "why: example.org cannot be reached: Name or service not known" in message
    for name in ("female", "male"):
        assert f"put it at <folder>/mine/{name}.zip" in message
        assert f"{name}.zip is at https://example.org/{name[0]}" in message
    assert "Kaggle's some/one: pip install kagglehub, and your token" in message


def test_an_archive_without_an_address(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"params\.yaml has no address for it"):
        run(tmp_path, links_corpus(("a.zip", None, None)))


# the mirror


def mirrored(tmp_path: Path, files: dict[str, bytes]) -> Path:
    folder = tmp_path / "mirror"
    (folder / "mine").mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / "mine" / name).write_bytes(data)
    return folder


def test_a_mirror_is_looked_at_first(server: Server, tmp_path: Path, body: bytes) -> None:
    corpus = zenodo_corpus(7, {"name": NAME, "url": "https://example.org/x", "checksum": md5(body)})
    source = run(tmp_path, corpus, mirrored(tmp_path, {NAME: body}))
    assert (source["edition"], source["archives"][0]["from"]) == ("official", "official")
    assert server.asked == []


def test_the_same_bytes_give_the_same_record_whichever_way_they_came(server: Server, tmp_path: Path, body: bytes) -> None:
    server.files["/direct"] = Served(body)
    corpus = links_corpus((NAME, f"{server.address}/direct", md5(body)))
    server.files[f"/m/mine/{NAME}"] = Served(body)
    ways = [None, mirrored(tmp_path, {NAME: body}), f"{server.address}/m"]
    records = {json.dumps(run(tmp_path / str(number), corpus, mirror)) for number, mirror in enumerate(ways)}
    assert len(records) == 1


@pytest.mark.parametrize("address", [False, True], ids=["folder", "address"])
def test_a_mirror_s_own_edition_says_so(server: Server, tmp_path: Path, body: bytes, address: bool) -> None:
    corpus = zenodo_corpus(7, {"name": NAME, "url": "https://example.org/x", "checksum": md5(b"the official one")})
    files = {NAME: body, NAME + ".md5": f"{md5(body)[4:]}  {NAME}\n".encode()}
    mirror: Path | str = mirrored(tmp_path, files)
    if address:
        server.files |= {f"/m/mine/{name}": Served(data) for name, data in files.items()}
        mirror = f"{server.address}/m/"
    source = run(tmp_path, corpus, mirror)
    assert source["edition"] == f"mirror's own edition of {NAME} (md5 {md5(body)[4:]})"
    assert source["archives"][0]["from"] == "mirror"
    assert left(tmp_path) == [NAME, "source.json"]


def test_an_md5_file_of_the_official_edition_changes_nothing(server: Server, tmp_path: Path, body: bytes) -> None:
    corpus = links_corpus((NAME, "https://example.org/x", md5(body)))
    mirror = mirrored(tmp_path, {NAME: body, NAME + ".md5": md5(body)[4:].upper().encode()})
    assert run(tmp_path, corpus, mirror)["edition"] == "official"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, r"its md5 is \w+ \(\d+ bytes\); expected"),
        (b"0" * 32, "expected 00000"),
        (b"see readme", "does not begin with an md5"),
        (b"", "does not begin"),
    ],
    ids=["none", "wrong", "text", "empty"],
)
def test_a_mirror_with_another_file_than_it_should_hold(server: Server, tmp_path: Path, body: bytes, text: bytes | None, why: str) -> None:
    files = {NAME: body} | ({NAME + ".md5": text} if text is not None else {})
    with pytest.raises(FetchError, match=why) as told:
        run(tmp_path, links_corpus((NAME, "https://example.org/x", md5(b"official"))), mirrored(tmp_path, files))
    assert f"a mirror's own edition needs its md5 beside it, in {tmp_path}/mirror/mine/{NAME}.md5" in str(told.value)
    assert left(tmp_path) == []


@pytest.mark.parametrize("address", [False, True], ids=["folder", "address"])
def test_a_record_whose_archives_nobody_named_comes_from_what_the_mirror_holds(
    server: Server, tmp_path: Path, body: bytes, address: bool
) -> None:
    mirror: Path | str = mirrored(
        tmp_path, {"any name ü.zip": body, "b.tar": body, "readme.txt": b"", "any name ü.zip.md5": md5(body)[4:].encode()}
    )
    if address:
        hrefs = "../", "any%20name%20%C3%BC.zip", "/m/mine/b.tar?x=1", "http://evil/c.zip", "sub/d.zip", "..%2Fe.zip"
        page = "<html>" + "".join(f'<a href="{href}">x</a>' for href in hrefs)
        server.files["/m/mine/"] = Served(page.encode(), kind="text/html")
        server.files |= {f"/m/mine/{path.name}": Served(path.read_bytes()) for path in (tmp_path / "mirror/mine").iterdir()}
        mirror = f"{server.address}/m"
    source = run(tmp_path, zenodo_corpus(), mirror)
    assert [entry["name"] for entry in source["archives"]] == ["any name ü.zip", "b.tar"]
    assert "mirror's own edition of any name ü.zip" in source["edition"]
    assert "b.tar from a mirror, not verified" in source["edition"]
    assert not any("records" in path for path in asked(server))


def test_a_mirror_s_archive_that_nothing_vouches_for_must_at_least_be_whole(server: Server, tmp_path: Path, body: bytes) -> None:
    with pytest.raises(FetchError, match=r"Audio\.zip is not a whole zip or tar archive"):
        run(tmp_path, zenodo_corpus(), mirrored(tmp_path, {NAME: body[:-50]}))
    assert left(tmp_path) == []


@pytest.mark.parametrize("place", ["folder", "mirror's address", "official address"])
def test_an_archive_that_is_not_whole_replaces_no_good_one(server: Server, tmp_path: Path, body: bytes, place: str) -> None:
    """No checksum of it is known, so that only opening it can tell."""
    mirror: Path | str | None = mirrored(tmp_path, {NAME: body}) if place == "folder" else None
    path = {"folder": "", "mirror's address": f"/m/mine/{NAME}", "official address": f"/{NAME}"}[place]
    if place == "mirror's address":
        mirror = f"{server.address}/m"
    corpus = links_corpus((NAME, f"{server.address}{path}" if place == "official address" else None, None))
    for data in (body, body[:-50]):
        server.files[path] = Served(data)
        if place == "folder":
            (tmp_path / "mirror/mine" / NAME).write_bytes(data)
        if data == body:
            run(tmp_path, corpus, mirror)
    with pytest.raises(FetchError, match="not a whole zip or tar archive"):
        run(tmp_path, corpus, mirror)
    assert (tmp_path / "raw/mine" / NAME).read_bytes() == body
    assert left(tmp_path) == [NAME]


def test_a_mirror_s_checksum_file_is_not_read_beyond_its_beginning(server: Server, tmp_path: Path, body: bytes) -> None:
    mirror = mirrored(tmp_path, {NAME: body})
    with (mirror / "mine" / f"{NAME}.md5").open("wb") as file:
        file.write(md5(body)[4:].encode() + b"  \n")
        file.truncate(1 << 40)  # a hole; more than any memory
    assert "mirror's own edition" in run(tmp_path, links_corpus((NAME, None, None)), mirror)["edition"]


def test_what_the_mirror_lacks_comes_from_the_official_address(server: Server, tmp_path: Path, body: bytes) -> None:
    server.files["/b"] = Served(b"second")
    corpus = links_corpus(("a.zip", "https://example.org/a", md5(body)), ("b.zip", f"{server.address}/b", md5(b"second")))
    source = run(tmp_path, corpus, mirrored(tmp_path, {"a.zip": body}))
    assert [entry["name"] for entry in source["archives"]] == ["a.zip", "b.zip"]
    assert left(tmp_path) == ["a.zip", "b.zip", "source.json"]


def test_a_mirror_without_the_corpus_is_passed_over(server: Server, tmp_path: Path, body: bytes) -> None:
    record(server, 7, {NAME: body})
    named = {"name": NAME, "url": None, "checksum": None}
    for number, mirror in enumerate((tmp_path / "empty", f"{server.address}/empty")):
        assert run(tmp_path / str(number), zenodo_corpus(), mirror)["edition"] == "official"
        assert run(tmp_path / f"named {number}", zenodo_corpus(7, named), mirror)["edition"] == "official"


def test_a_mirror_that_fails_is_named(server: Server, tmp_path: Path) -> None:
    server.files[f"/m/mine/{NAME}.md5"] = Served(status=500)
    with pytest.raises(FetchError, match=f"from: {server.address}/m/mine/{NAME}"):
        run(tmp_path, links_corpus((NAME, "https://example.org/x", md5(b"x"))), f"{server.address}/m")


# what is left by earlier runs


@pytest.mark.parametrize(
    "damaged",
    [
        b"[]", b"null", b"5", b'"x"', b"", b"{", b"[" * 100_000, b"\xff", None, {}, {"archives": 5}, {"archives": [5]}, {"archives": [{}]},
        {"archives": [{"name": 5, "sha256": None}], "edition": "official"},
    ],
)  # fmt: skip
def test_a_damaged_record_of_an_earlier_download_is_no_record(tmp_path: Path, damaged: bytes | dict[str, object] | None) -> None:
    """The host cannot be reached, so that the archives of an earlier run would do if a whole record vouched for them."""
    corpus = links_corpus((NAME, "http://127.0.0.1:9/a.zip", md5(b"x")))
    told = tmp_path / "raw/mine/source.json"
    told.parent.mkdir(parents=True)
    if damaged is None:
        os.mkfifo(told)
    elif isinstance(damaged, bytes):
        told.write_bytes(damaged)
    else:
        told.write_text(json.dumps({"source": corpus.source.model_dump()} | damaged))
    with pytest.raises(FetchError, match="refused"):
        run(tmp_path, corpus)


def test_leftovers_of_other_settings_are_removed(server: Server, tmp_path: Path, body: bytes) -> None:
    (tmp_path / "raw/mine/old member").mkdir(parents=True)
    for name in ("old.zip", "x.part", "old member/a.zip"):
        (tmp_path / "raw/mine" / name).write_bytes(b"old")
    run(tmp_path, links_corpus((NAME, None, md5(body))), mirrored(tmp_path, {NAME: body}))
    assert left(tmp_path) == [NAME, "source.json"]


def test_after_a_failure_nothing_looks_like_success_and_nothing_good_is_lost(server: Server, tmp_path: Path, body: bytes) -> None:
    mirror = mirrored(tmp_path, {NAME: body})
    run(tmp_path, links_corpus((NAME, f"{server.address}/gone", md5(body))), mirror)
    with pytest.raises(FetchError, match="404"):
        run(tmp_path, links_corpus((NAME, f"{server.address}/gone", md5(b"another"))))
    assert left(tmp_path) == [NAME]


def test_an_offline_machine_goes_on_with_what_it_has(
    server: Server, tmp_path: Path, body: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    own = mirrored(tmp_path, {NAME: body, NAME + ".md5": md5(body)[4:].encode()})
    corpus = zenodo_corpus(7, {"name": NAME, "url": "https://example.org/x", "checksum": md5(b"official")})
    before = run(tmp_path, corpus, own)
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    monkeypatch.setattr(zenodo, "API", "https://example.org/api")
    assert run(tmp_path, corpus) == before
    assert "cannot be reached" in caplog.text
    assert "using the archives in" in caplog.text
    with pytest.raises(FetchError):  # another record was asked for
        run(tmp_path, zenodo_corpus(8, {"name": NAME, "url": "https://example.org/x", "checksum": md5(b"official")}))
    run(tmp_path, corpus, own)
    (tmp_path / "raw/mine" / NAME).write_bytes(b"changed by somebody")
    with pytest.raises(FetchError):
        run(tmp_path, corpus)


# Kaggle


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set as kagglehub unpacks it, and a user with a token."""
    folder = tmp_path / "kagglehub"
    for name in ("male/M01A01.wav", "female/F01A01.wav", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    module = types.ModuleType("kagglehub")
    vars(module)["dataset_download"] = lambda handle: {"some/one": str(folder)}[handle]
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/kaggle.json").write_text("{}")
    return folder


def test_kaggle_helps_where_the_links_are_dead(server: Server, tmp_path: Path, kaggle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "config"))
    corpus = links_corpus(("a.zip", f"{server.address}/dead", md5(b"x")), ("b.zip", f"{server.address}/dead", md5(b"y")), kaggle="some/one")
    source = run(tmp_path, corpus)
    (entry,) = source["archives"]
    assert (entry["name"], entry["from"], entry["url"]) == ("one.zip", "kaggle", "https://www.kaggle.com/datasets/some/one")
    with zipfile.ZipFile(tmp_path / "raw/mine/one.zip") as packed:
        assert packed.namelist() == ["female/F01A01.wav", "male/M01A01.wav", "notes.txt"]
    assert run(tmp_path, corpus) == source


@pytest.mark.parametrize("missing", ["token", "package", "data set"])
def test_what_kaggle_needs(server: Server, tmp_path: Path, kaggle: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    if missing != "token":
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "config"))
    if missing == "package":
        monkeypatch.setitem(sys.modules, "kagglehub", None)
    corpus = links_corpus(("a.zip", f"{server.address}/dead", md5(b"x")), kaggle="some/other")
    why = {"token": "answers 404", "package": "kagglehub is not installed", "data set": "Kaggle: KeyError: 'some/other'"}[missing]
    with pytest.raises(FetchError, match=why) as told:
        run(tmp_path, corpus)
    assert "pip install kagglehub, and your token in ~/.kaggle/kaggle.json" in str(told.value)
    assert left(tmp_path) == []


# what stands in the way, asked without fetching


NOBODY = "http://127.0.0.1:9"
"""An address that refuses connections."""


def in_the_way(tmp_path: Path, corpus: Corpus, mirror: Path | str | None = None) -> str | None:
    """The obstacle's message, after a check that asking for it left nothing behind."""
    before = sorted(tmp_path.rglob("*"))
    found = obstacle("mine", corpus, tmp_path / "raw", mirror=None if mirror is None else str(mirror), cache=tmp_path / "cache")
    assert sorted(tmp_path.rglob("*")) == before
    return None if found is None else str(found)


@pytest.mark.parametrize("status", [200, 503])
def test_a_host_that_answers_is_enough_and_is_asked_once(server: Server, tmp_path: Path, body: bytes, status: int) -> None:
    server.files["/a"] = Served(body, status=status)
    assert in_the_way(tmp_path, links_corpus((NAME, f"{server.address}/a", md5(body)))) is None
    server.files["/api/records/7"] = Served(b"any answer", status=status)
    assert in_the_way(tmp_path, zenodo_corpus()) is None
    assert asked(server) == ["/a", "/api/records/7"]


@pytest.mark.parametrize(
    ("url", "why"), [(f"{NOBODY}/a", "127.0.0.1:9 cannot be reached"), ("{server}/gone", "answers 404"), (None, "has no address for it")]
)
def test_what_would_not_come_is_told_as_a_fetch_tells_it(server: Server, tmp_path: Path, url: str | None, why: str) -> None:
    url = url and url.format(server=server.address)
    message = in_the_way(tmp_path, links_corpus(("a.zip", url, md5(b"a")), ("b.zip", url, md5(b"b"))))
    assert message is not None
    assert message.startswith("mine: a.zip could not be fetched")
    assert why in message
    assert "put it at <folder>/mine/b.zip" in message


def test_a_record_out_of_reach_is_told_whether_its_archives_are_named_or_not(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zenodo, "API", f"{NOBODY}/api")
    for archives in ([], [{"name": NAME, "url": None, "checksum": None}], [{"name": NAME, "url": f"{NOBODY}/a", "checksum": md5(b"a")}]):
        message = in_the_way(tmp_path, zenodo_corpus(7, *archives))
        assert message is not None
        assert "cannot be reached" in message
        assert "zenodo.org/records/7" in message


def test_what_is_kept_needs_no_host(server: Server, tmp_path: Path, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    record(server, 7, {NAME: body})
    pinned = {"name": NAME, "url": f"{NOBODY}/a", "checksum": md5(body)}
    run(tmp_path, zenodo_corpus())
    (tmp_path / "raw/mine" / NAME).unlink()
    monkeypatch.setattr(zenodo, "API", f"{NOBODY}/api")
    server.asked.clear()
    assert in_the_way(tmp_path, zenodo_corpus()) is None
    assert in_the_way(tmp_path, zenodo_corpus(7, pinned)) is None
    assert server.asked == []
    next((tmp_path / "cache").rglob(NAME)).unlink()
    assert in_the_way(tmp_path, zenodo_corpus()) is None  # the remembered record's own address answers
    assert asked(server) == [f"/api/records/7/files/{NAME}/content"]
    assert in_the_way(tmp_path, zenodo_corpus(8)) is not None


@pytest.mark.parametrize("address", [False, True], ids=["folder", "address"])
def test_what_the_mirror_has_needs_no_other_host(
    server: Server, tmp_path: Path, body: bytes, monkeypatch: pytest.MonkeyPatch, address: bool
) -> None:
    monkeypatch.setattr(zenodo, "API", f"{NOBODY}/api")
    mirror: Path | str = mirrored(tmp_path, {NAME: body})
    if address:
        server.files |= {f"/m/mine/{NAME}": Served(body), "/m/mine/": Served(b"a listing", kind="text/html")}
        mirror = f"{server.address}/m"
    named = links_corpus((NAME, f"{NOBODY}/a", None))
    for corpus in (named, zenodo_corpus()):
        assert in_the_way(tmp_path, corpus, mirror) is None
    (tmp_path / "mirror/mine" / NAME).rename(tmp_path / "elsewhere")
    server.files.clear()
    for corpus in (named, zenodo_corpus()):
        assert "cannot be reached" in str(in_the_way(tmp_path, corpus, mirror))


def test_a_mirror_out_of_reach_is_told(server: Server, tmp_path: Path, body: bytes) -> None:
    server.files["/a"] = Served(body)
    message = in_the_way(tmp_path, links_corpus((NAME, f"{server.address}/a", md5(body))), f"{NOBODY}/m")
    assert f"from: {NOBODY}/m/mine/{NAME}" in str(message)


def test_a_host_that_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(transfer, "ASKING", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        message = in_the_way(tmp_path, links_corpus((NAME, f"http://127.0.0.1:{silent.getsockname()[1]}/a", None)))
    assert "does not answer: timed out" in str(message)


def test_kaggle_may_help_one_who_has_a_token(server: Server, tmp_path: Path, kaggle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = links_corpus(("a.zip", f"{NOBODY}/a", None), kaggle="some/one")
    monkeypatch.setattr(kaggle_module, "ADDRESS", f"{server.address}/kaggle")
    server.files["/kaggle"] = Served(b"hello")
    assert in_the_way(tmp_path, corpus) is not None
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "config"))
    assert in_the_way(tmp_path, corpus) is None
    monkeypatch.setattr(kaggle_module, "ADDRESS", NOBODY)
    assert in_the_way(tmp_path, corpus) is not None


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "synthetic", "seed": 1, "speakers": 2, "sentences": 1, "repetitions": 1},
        {"kind": "folder", "path": "no/such/folder"},
        {"kind": "joint", "members": ["one", "two"]},
    ],
    ids=lambda source: source["kind"],
)
def test_what_is_not_fetched_has_no_obstacle(tmp_path: Path, source: dict[str, Any]) -> None:
    assert in_the_way(tmp_path, Corpus.model_validate({"source": source, "labels": LABELS})) is None


# what is never removed


def valuables(folder: Path) -> Path:
    """A folder of somebody's own, with a file that looks like the download's."""
    (folder / "photos").mkdir(parents=True)
    (folder / "photos/1.jpg").write_bytes(b"irreplaceable")
    (folder / "source.json").write_text("{}")
    return folder


@pytest.mark.parametrize("name", ["..", "../..", "", ".", "../elsewhere", "{elsewhere}"])
def test_a_name_that_leads_elsewhere_removes_nothing_there(tmp_path: Path, name: str) -> None:
    elsewhere = valuables(tmp_path / "elsewhere")
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/keep").write_bytes(b"")
    for recording in ("happy/ada/1.wav", "sad/ben/2.wav"):
        (tmp_path / "recordings" / recording).parent.mkdir(parents=True)
        (tmp_path / "recordings" / recording).write_bytes(b"x")
    source = {"kind": "folder", "path": str(tmp_path / "recordings"), "table": None}
    corpus = Corpus.model_validate({"source": source, "labels": LABELS})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SerError, match="is not a name of a folder"):
        fetch(name.format(elsewhere=elsewhere), corpus, tmp_path / "data/raw", mirror=None, cache=tmp_path / "cache")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("place", ["raw/mine", "raw/all/mine"])
def test_a_link_in_place_of_a_corpus_is_not_followed(tmp_path: Path, body: bytes, place: str) -> None:
    elsewhere = valuables(tmp_path / "elsewhere")
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).symlink_to(elsewhere)
    mirror = mirrored(tmp_path, {"a.zip": body})
    corpora = {
        "mine": links_corpus(("a.zip", None, None)),
        "other": links_corpus(("a.zip", None, None)),
        "all": Corpus.model_validate({"source": {"kind": "joint", "members": ["mine", "other"]}, "labels": LABELS}),
    }
    name = place.split("/")[1]
    with pytest.raises(SerError, match="is a link or lies elsewhere"):
        fetch(name, corpora[name], tmp_path / "raw", mirror=str(mirror), cache=tmp_path / "cache", corpora=corpora)
    assert sorted(path.name for path in elsewhere.rglob("*")) == ["1.jpg", "photos", "source.json"]


def test_a_link_put_in_place_during_the_download_is_not_cleared(tmp_path: Path, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = valuables(tmp_path / "elsewhere")
    mirror = mirrored(tmp_path, {"a.zip": body})

    def swapped(*_: object) -> dict[str, Any]:
        (tmp_path / "raw/mine/a.zip").unlink()
        (tmp_path / "raw/mine").rmdir()
        (tmp_path / "raw/mine").symlink_to(elsewhere)
        return {"archives": [], "edition": "official"}

    monkeypatch.setattr(sources, "source_record", swapped)
    with pytest.raises(SerError, match="is a link or lies elsewhere"):
        run(tmp_path, links_corpus(("a.zip", None, None)), mirror)
    assert sorted(path.name for path in elsewhere.rglob("*")) == ["1.jpg", "photos", "source.json"]


def test_a_data_folder_that_is_a_link_as_a_whole_is_fine(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "big disk").mkdir()
    (tmp_path / "raw").symlink_to(tmp_path / "big disk")
    run(tmp_path, links_corpus(("a.zip", None, None)), mirrored(tmp_path, {"a.zip": body}))
    assert (tmp_path / "big disk/mine/a.zip").read_bytes() == body


# made here


def test_a_joint_corpus_holds_its_members_and_how_to_read_them(server: Server, tmp_path: Path, body: bytes) -> None:
    corpora = {
        "mine": Corpus.model_validate({"source": {"kind": "joint", "members": ["two", "one"]}, "labels": LABELS}),
        "one": links_corpus(("a.zip", None, md5(body))),
        "two": links_corpus(("b.zip", None, None)),
    }
    mirror = tmp_path / "mirror"
    for name, archive in (("one", "a.zip"), ("two", "b.zip")):
        (mirror / name).mkdir(parents=True)
        (mirror / name / archive).write_bytes(body)
    source = run(tmp_path, corpora["mine"], mirror, corpora=corpora)
    assert [entry["name"] for entry in source["archives"]] == ["one/a.zip", "two/b.zip"]
    assert source["edition"].startswith("one: official; two: b.zip from a mirror, not verified")
    assert {name: Corpus.model_validate(member) for name, member in source["members"].items()} == {
        name: corpora[name] for name in ("one", "two")
    }
    assert sorted(str(path.relative_to(tmp_path / "raw/mine")) for path in (tmp_path / "raw/mine").rglob("*.*")) == [
        "one/a.zip", "one/source.json", "source.json", "two/b.zip", "two/source.json",
    ]  # fmt: skip


def test_a_joint_corpus_of_joint_corpora(tmp_path: Path) -> None:
    joint = Corpus.model_validate({"source": {"kind": "joint", "members": ["mine", "other"]}, "labels": LABELS})
    with pytest.raises(SerError, match=r"corpora\.mine\.source\.members: mine, other is joint itself"):
        run(tmp_path, joint, corpora={"mine": joint, "other": joint})


def test_own_recordings_are_packed_once_and_the_same(tmp_path: Path) -> None:
    for name in ("happy/ada/1.wav", "sad/ben/2.wav"):
        (tmp_path / "recordings" / name).parent.mkdir(parents=True)
        (tmp_path / "recordings" / name).write_bytes(name.encode())
    corpus = Corpus.model_validate({"source": {"kind": "folder", "path": str(tmp_path / "recordings"), "table": None}, "labels": LABELS})
    source = run(tmp_path, corpus)
    assert (source["archives"][0]["name"], source["archives"][0]["from"]) == ("recordings.zip", "folder")
    assert run(tmp_path, corpus) == source
    (tmp_path / "recordings/sad/ben/2.wav").write_bytes(b"new take")
    assert run(tmp_path, corpus) != source
