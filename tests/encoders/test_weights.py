"""Where weights come from, and every way in which they may fail to; the hub is a server on this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.server import Served, Server, serving

from ser import SerError
from ser.download import transfer
from ser.encoders import table, weights
from ser.encoders.waveform import FAMILIES
from ser.params.encoder import Encoder
from tests.encoders import tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "someone/tiny"


def test_the_table_is_well_formed():
    names = [row.name for row in table.TABLE]
    assert len(set(names)) == len(names)
    assert {"whisper-tiny", "whisper-tiny.en", "whisper-base", "whisper-base.en", "whisper-small", "whisper-large-v3-turbo"} <= set(names)
    assert {"wav2vec2-base", "hubert-base", "hubert-large", "wavlm-base-plus", "wavlm-large", "data2vec-audio-base"} <= set(names)
    for row in table.TABLE:
        assert row.repository.count("/") == 1
        assert row.family in ("whisper", *FAMILIES)
        for digits, text in ((40, row.commit), (64, row.sha256)):
            assert not text or (len(text) == digits and int(text, 16) >= 0), row.name
        assert row.commit or not row.sha256, row.name
        assert row.licence
    assert "unclear" in table.row("wavlm-large").terms
    assert table.row("whisper-base").terms == "MIT; commercial use allowed"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("whisper-bass", ["did you mean 'whisper-base'?", "wavlm-large", "features.encoder.path"]),
        ("../../etc", ["'../../etc' is not known"]),
        ("emotion2vec+", ["not offered", "trained on the corpora"]),
        ("emotion2vec_plus_large", ["not offered"]),
    ],
)
def test_a_name_that_is_not_on_offer(tmp_path, name, says):
    with pytest.raises(SerError) as error:
        weights.obtain(Encoder(name=name, layers=[1]), mirror=None, cache=tmp_path)
    for text in says:
        assert text in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def made(tmp_path: Path) -> dict[str, bytes]:
    """The files of a tiny Whisper, grown to a megabyte so that a transfer can break in the middle."""
    folder = tiny.whisper(tmp_path / "made", encoder_ffn_dim=1024)
    return {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for pauses in ("PAUSES", "UNREACHABLE_PAUSES"):
        monkeypatch.setattr(transfer, pauses, (0.01, 0.01))
    monkeypatch.setenv("NO_PROXY", "*")
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address + "/")
        yield server


def offer(monkeypatch: pytest.MonkeyPatch, sha256: str = "", commit: str = "", family: str = "whisper") -> Encoder:
    """Put an encoder into the table."""
    row = table.Row("tiny", REPOSITORY, commit, sha256, family, 32, 3, "MIT", "yes")
    monkeypatch.setattr(weights, "row", lambda name: row)
    return Encoder(name="tiny", layers=[1])


def publish(hub: Server, made: dict[str, bytes], revision: str = "main", **others: bytes) -> None:
    """A repository on the hub."""
    files = made | others
    siblings = [{"rfilename": name, "size": len(data), "blobId": "0"} for name, data in files.items()]
    for entry in siblings:
        if entry["rfilename"].endswith((".safetensors", ".bin")):
            entry["lfs"] = {"sha256": sha256(files[entry["rfilename"]]), "size": entry["size"], "pointerSize": 1}
    text = json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}).encode()
    hub.files[f"/api/models/{REPOSITORY}/revision/{revision}?blobs=true"] = Served(text, kind="application/json")
    hub.files |= {f"/{REPOSITORY}/resolve/{COMMIT}/{name}": Served(data, kind="binary/octet-stream") for name, data in files.items()}


def test_pinned_weights_come_by_commit_and_then_stay(hub, made, tmp_path, monkeypatch):
    settings = offer(monkeypatch, sha256(made["model.safetensors"]), COMMIT)
    publish(hub, made)
    found = weights.obtain(settings, mirror=None, cache=tmp_path / "cache")
    assert found.sha256 == sha256(made["model.safetensors"])
    assert found.edition == f"official at {COMMIT}"
    assert {name: (found.folder / name).read_bytes() for name in made} == made
    assert [path for path, _ in hub.asked] == [f"/{REPOSITORY}/resolve/{COMMIT}/{name}" for name in made]
    hub.files.clear()
    assert weights.obtain(settings, mirror=None, cache=tmp_path / "cache") == found
    assert len(hub.asked) == 2


def test_what_is_not_pinned_is_resolved_once_and_the_line_to_pin_is_told(hub, made, tmp_path, monkeypatch, caplog):
    settings = offer(monkeypatch)
    publish(hub, made)
    with caplog.at_level(logging.INFO):
        found = weights.obtain(settings, mirror=None, cache=tmp_path / "cache")
    assert f"commit {COMMIT}, sha256 {found.sha256}" in caplog.text
    told = json.loads((found.folder / "source.json").read_text())
    assert told == {"repository": REPOSITORY, "commit": COMMIT, "sha256": sha256(made["model.safetensors"])}
    hub.files.clear()
    assert weights.obtain(settings, mirror=None, cache=tmp_path / "cache") == found


def test_a_waveform_encoder_brings_its_preprocessor_too(hub, made, tmp_path, monkeypatch):
    settings = offer(monkeypatch, family="wavlm")
    publish(hub, made, **{"preprocessor_config.json": b"{}"})
    assert (weights.obtain(settings, mirror=None, cache=tmp_path / "cache").folder / "preprocessor_config.json").read_bytes() == b"{}"


def test_what_was_spoilt_in_the_cache_comes_again(hub, made, tmp_path, monkeypatch):
    settings = offer(monkeypatch, sha256(made["model.safetensors"]), COMMIT)
    publish(hub, made)
    found = weights.obtain(settings, mirror=None, cache=tmp_path / "cache")
    (found.folder / "model.safetensors").write_bytes(b"x")
    assert weights.obtain(settings, mirror=None, cache=tmp_path / "cache") == found
    assert (found.folder / "model.safetensors").read_bytes() == made["model.safetensors"]


@pytest.mark.parametrize("told", [b"", b"[]", b"5", b"null", b"{}", b"[" * 100_000, b"\xff"])
def test_a_damaged_note_of_an_earlier_download_is_none(hub, made, tmp_path, monkeypatch, told):
    settings = offer(monkeypatch, sha256(made["model.safetensors"]), COMMIT)
    publish(hub, made)
    found = weights.obtain(settings, mirror=None, cache=tmp_path / "cache")
    (found.folder / weights.SOURCE).write_bytes(told)
    assert weights.obtain(settings, mirror=None, cache=tmp_path / "cache") == found


def test_a_broken_transfer_goes_on_where_it_stopped(hub, made, tmp_path, monkeypatch):
    settings = offer(monkeypatch, sha256(made["model.safetensors"]), COMMIT)
    publish(hub, made)
    served = hub.files[f"/{REPOSITORY}/resolve/{COMMIT}/model.safetensors"]
    served.drops, served.drop_after = 2, 100_000
    weights.obtain(settings, mirror=None, cache=tmp_path / "cache")
    starts = [wanted for path, wanted in hub.asked if path.endswith("model.safetensors")]
    assert (len(starts), starts[0]) == (3, None)
    first, second = (int(wanted.removeprefix("bytes=").rstrip("-")) for wanted in starts[1:])
    assert 0 < first < second


@pytest.mark.parametrize("pinned", [True, False])
def test_the_next_run_goes_on_from_what_an_interrupted_one_left(hub, made, tmp_path, monkeypatch, pinned):
    digest = sha256(made["model.safetensors"])
    settings = offer(monkeypatch, digest, COMMIT) if pinned else offer(monkeypatch)
    publish(hub, made)
    served = hub.files[f"/{REPOSITORY}/resolve/{COMMIT}/model.safetensors"]
    served.status = 404
    with pytest.raises(SerError, match="a broken transfer resumes where it stopped"):
        weights.obtain(settings, mirror=None, cache=tmp_path / "cache")
    part = tmp_path / "cache/encoders/tiny" / (COMMIT if pinned else "main") / "model.safetensors.part"
    part.write_bytes(made["model.safetensors"][:150_000])
    served.status = 200
    assert weights.obtain(settings, mirror=None, cache=tmp_path / "cache").sha256 == digest
    assert hub.asked[-1][1] == "bytes=150000-"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("wrong bytes", "its sha256 is"),
        ("not found", "the server answers 404"),
        ("log in", "web page instead of the file"),
        ("pickle only", "pytorch_model.bin is a pickle"),
        ("neither", "has no model.safetensors"),
        ("no json", "is not a list of files"),
        ("no list", "is not a list of files"),
        ("entries of another kind", "is not a list of files"),
        ("too deep", "is not a list of files"),
        ("a commit that is none", "no commit of 40"),
    ],
)
def test_what_the_hub_may_do_wrong(hub, made, tmp_path, monkeypatch, how, says):
    settings = offer(monkeypatch)
    listing, place = f"/api/models/{REPOSITORY}/revision/main?blobs=true", f"/{REPOSITORY}/resolve/{COMMIT}/model.safetensors"
    publish(hub, made)
    match how:
        case "wrong bytes":
            hub.files[place].body = made["model.safetensors"][::-1]
        case "not found":
            del hub.files[place]
        case "log in":
            hub.files[place] = Served(b"<html>", kind="text/html; charset=utf-8")
        case "pickle only":
            publish(hub, {"config.json": b"{}", "pytorch_model.bin": b"x"})
        case "neither":
            publish(hub, {"config.json": b"{}"})
        case "no json":
            hub.files[listing].body = b"{"
        case "no list":
            hub.files[listing].body = b'{"sha": 3, "siblings": [4]}'
        case "entries of another kind":
            hub.files[listing].body = b'[{"sha": 3}]'
        case "too deep":
            hub.files[listing].body = b"[" * 100_000
        case "a commit that is none":
            hub.files[listing].body = b'{"sha": "../..", "siblings": []}'
    with pytest.raises(SerError) as error:
        weights.obtain(settings, mirror=None, cache=tmp_path / "cache")
    message = str(error.value)
    assert says in message
    assert hub.address in message
    assert "features.encoder.path" in message
    if how == "pickle only":
        assert "save_pretrained" in message
    else:
        assert "<folder>/encoders/tiny/" in message
    assert not list((tmp_path / "cache").rglob("model.safetensors"))


def test_no_network(tmp_path, monkeypatch, hub):
    settings = offer(monkeypatch, "0" * 64, COMMIT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")  # taken, and nobody listens
        with pytest.raises(SerError) as error:
            weights.obtain(settings, mirror=None, cache=tmp_path / "cache")
    for text in ("cannot be reached", "put config.json, model.safetensors of someone/tiny into <folder>/encoders/tiny/", "SER_MIRROR"):
        assert text in str(error.value)


def mirrored(folder: Path, made: dict[str, bytes]) -> Path:
    """A mirror that holds these files."""
    (folder / "encoders/tiny").mkdir(parents=True)
    for name, data in made.items():
        (folder / "encoders/tiny" / name).write_bytes(data)
    return folder


def test_a_mirrors_own_edition_says_so_by_its_sha256(hub, made, tmp_path, monkeypatch):
    settings = offer(monkeypatch, "0" * 64, COMMIT)
    own = {"model.safetensors.sha256": f"{sha256(made['model.safetensors'])}  model.safetensors\n".encode()}
    mirror = mirrored(tmp_path / "mirror", made | own)
    found = weights.obtain(settings, mirror=str(mirror), cache=tmp_path / "cache")
    assert (found.sha256, found.edition) == (sha256(made["model.safetensors"]), "mirror's own edition")
    assert (found.folder / "config.json").read_bytes() == made["config.json"]
    assert hub.asked == []
    hub.files |= {f"/mirror/encoders/tiny/{name}": Served(data) for name, data in (made | own).items()}
    assert weights.obtain(settings, mirror=f"{hub.address}/mirror", cache=tmp_path / "other").sha256 == found.sha256
    asked = len(hub.asked)
    weights.obtain(settings, mirror=f"{hub.address}/mirror", cache=tmp_path / "other")
    assert [path for path, _ in hub.asked[asked:]] == ["/mirror/encoders/tiny/model.safetensors.sha256"]


def test_a_mirrors_official_edition_is_held_against_the_pin(hub, made, tmp_path, monkeypatch):
    mirror = mirrored(tmp_path / "mirror", made)
    right = offer(monkeypatch, sha256(made["model.safetensors"]), COMMIT)
    assert weights.obtain(right, mirror=str(mirror), cache=tmp_path / "cache").edition == f"official at {COMMIT}"
    wrong = offer(monkeypatch, "0" * 64, COMMIT)
    with pytest.raises(SerError, match=r"its sha256 is(?s:.*)own edition needs its sha256 beside it"):
        weights.obtain(wrong, mirror=str(mirror), cache=tmp_path / "other")


def test_a_mirror_without_a_checksum_is_told_to_be_unverified(hub, made, tmp_path, monkeypatch, caplog):
    mirror = mirrored(tmp_path / "mirror", made)
    weights.obtain(offer(monkeypatch), mirror=str(mirror), cache=tmp_path / "cache")
    assert "not verified" in caplog.text
    assert sha256(made["model.safetensors"]) in caplog.text


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"model.safetensors": b"x", "model.safetensors.sha256": b"0" * 64, "config.json": b"{}"}, "its sha256 is"),
        ({"model.safetensors": b"x", "model.safetensors.sha256": b"soon", "config.json": b"{}"}, "does not begin with a sha256 of 64"),
        ({"model.safetensors": b"x"}, "the mirror holds model.safetensors without it"),
        ({"pytorch_model.bin": b"x", "config.json": b"{}"}, "is a pickle"),
    ],
    ids=["wrong sha256", "no sha256", "no config", "pickle only"],
)
def test_what_a_mirror_may_do_wrong(hub, tmp_path, monkeypatch, files, says):
    mirror = mirrored(tmp_path / "mirror", files)
    with pytest.raises(SerError) as error:
        weights.obtain(offer(monkeypatch), mirror=str(mirror), cache=tmp_path / "cache")
    assert says in str(error.value)
    assert str(mirror) in str(error.value)
    assert hub.asked == []


@pytest.mark.parametrize("kind", ["folder", "address"])
def test_what_the_mirror_does_not_hold_comes_from_the_hub(hub, made, tmp_path, monkeypatch, kind):
    publish(hub, made)
    mirror = str(tmp_path) if kind == "folder" else f"{hub.address}/mirror"
    assert weights.obtain(offer(monkeypatch), mirror=mirror, cache=tmp_path / "cache").edition == f"official at {COMMIT}"


def test_a_folder_of_ones_own_is_used_where_it_is(hub, tmp_path):
    folder = tiny.whisper(tmp_path / "mine")
    found = weights.obtain(Encoder(name="mine", layers=[1], path=str(folder)), mirror="nowhere", cache=tmp_path / "cache")
    assert (found.folder, found.sha256) == (folder, sha256((folder / "model.safetensors").read_bytes()))
    assert "licence unknown" in found.terms
    assert "MIT" in weights.obtain(Encoder(name="whisper-base", layers=[1], path=str(folder)), mirror=None, cache=tmp_path).terms
    assert not (tmp_path / "cache").exists()
    assert hub.asked == []


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, ["holds no model.safetensors", "config.json"]),
        ({"pytorch_model.bin": b"x"}, ["pytorch_model.bin is a pickle", "runs any code", "save_pretrained"]),
        ({"model.safetensors": b"x", "model.safetensors.sha256": b"1" * 64}, ["its sha256 is"]),
    ],
    ids=["empty", "pickle only", "wrong sha256"],
)
def test_what_a_folder_of_ones_own_may_lack(tmp_path, files, says):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with pytest.raises(SerError) as error:
        weights.obtain(Encoder(name="mine", layers=[1], path=str(folder)), mirror=None, cache=tmp_path)
    for text in [str(folder), *says]:
        assert text in str(error.value)


@pytest.mark.parametrize("name", ["whisper-base", "whisper-tiny.en"])
def test_the_real_editions_lie_as_a_mirror_must_hold_them(hub, tmp_path, name):
    if not (tiny.REAL / name).is_dir():
        pytest.skip(f"the real weights of {name} are not on this machine")
    found = weights.obtain(Encoder(name=name, layers=[1]), mirror=str(tiny.REAL.parent), cache=tmp_path)
    assert found.edition == "mirror's own edition"
    assert found.sha256 in (tiny.REAL / name / "model.safetensors.sha256").read_text()
    shutil.rmtree(tmp_path)
