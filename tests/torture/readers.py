"""What is fuzzed: each reader of things from outside, as a function of random numbers that makes one input and has it read."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ser import SerError
from ser.corpora import folder, names
from ser.corpora.archives import open_archive, readable
from ser.corpora.catalogue import catalogue
from ser.corpora.listing import labels
from ser.evaluation import result
from ser.params import Params, load, parse
from ser.runtime.reading import DamagedError
from ser.runtime.text import no_formula, printable
from ser.serving import bundle
from ser.serving.page import answer as answers
from ser.serving.page import upload
from ser.serving.page.limits import RefusedError
from ser.serving.page.question import Question
from ser.serving.predict import Predictor
from ser.signal import preprocessing
from tests.torture import sounds, web
from tests.torture.ground import Ground
from tests.torture.mutation import mutated, text

Reader = Callable[[random.Random], None]
REFUSALS = (SerError, DamagedError, RefusedError)
"""How an input is refused."""


def opened(name: str, ground: Ground) -> Reader:
    """The reader of this name; what it needs is made once."""
    made: dict[str, Callable[[Ground], Reader]] = {
        "archive": _archive,
        "names": _names,
        "table": _table,
        "params": _params,
        "params text": _params_text,
        "bundle": _bundle,
        "graph": _graph,
        "http": web.opened,
        "answer": _answer,
        "sound": _sound,
        "result": _result,
    }
    return made[name](ground)


def _archive(ground: Ground) -> Reader:
    seeds = [_zip(zipfile.ZIP_STORED), _zip(zipfile.ZIP_DEFLATED), *(_tar(mode) for mode in ("w:", "w:gz", "w:bz2", "w:xz"))]
    words = (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"../x", b"ustar", b"\x1f\x8b")

    def read(chosen: random.Random) -> None:
        path = Path("archive")
        path.write_bytes(mutated(chosen.choice(seeds), chosen, words))
        with open_archive(path) as archive:
            for member in archive.members():
                assert ".." not in member.name.split("/") or member.problem, member
                try:
                    archive.read(member.name)
                except SerError:
                    continue

    return read


def _names(ground: Ground) -> Reader:
    known = [
        "03-01-06-01-02-01-12.wav",
        "Actor_01/03-01-01-01-01-01-01.wav",
        "M01A01.wav",
        "03a01Fa.wav",
        "F21S05.wav",
        "001_12_01_1_03_04_05_01_02.wav",
    ]

    def read(chosen: random.Random) -> None:
        given = mutated(chosen.choice(known).encode(), chosen).decode("utf-8", "surrogateescape") if chosen.random() < 0.5 else text(chosen)
        name = readable(given)
        for corpus in catalogue():
            labels(corpus, name)
        cleaned = names.clean(name)
        assert names.clean(cleaned) == cleaned, name
        names.is_hidden(name)
        folder.tree([name, f"a/{name}/b.wav", f"{name}/x/c.wav"])
        names.check_spellings([cleaned, names.clean(text(chosen))], "label", "here")
        assert upload.shown(name)
        assert "\n" not in printable(name), name
        no_formula(name)

    return read


def _table(ground: Ground) -> Reader:
    good = b'path,label,speaker,gender,language\na.wav,happy,s1,f,english\n"b,c.wav",sad,s2,,\n'
    words = (b'"', b",", b";", b"\t", b"\n", b"\r", b"/../", b"\xef\xbb\xbf", b"label")

    def read(chosen: random.Random) -> None:
        folder.read_table(mutated(good, chosen, words).decode("utf-8", "replace"), "the table", Path.cwd())

    return read


def _params(ground: Ground) -> Reader:
    values = YAML(typ="safe", pure=True).load(ground.folder / "params.yaml")
    places = [*_places(values)]

    def read(chosen: random.Random) -> None:
        changed = copy.deepcopy(values)
        for _ in range(chosen.choice((1, 1, 2, 5))):
            *path, last = chosen.choice(places)
            section: Any = changed
            for name in path:
                section = section[name] if isinstance(section, dict) and name in section else {}
            if isinstance(section, dict):
                section[chosen.choice((last, last, last, text(chosen, 8)))] = _value(chosen)
        parse(changed)

    return read


def _places(values: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(values, dict):
        return []
    return [place for name, value in values.items() for place in [(*path, name), *_places(value, (*path, name))]]


def _value(chosen: random.Random, depth: int = 0) -> Any:
    plain = (
        None,
        True,
        0,
        -1,
        1,
        chosen.randrange(-100, 10**6),
        chosen.random(),
        chosen.random() * 10 ** chosen.randrange(-300, 300),
        float("nan"),
        float("-inf"),
        10 ** chosen.randrange(400),
        text(chosen),
        "demo",
        "auto",
        "network",
        "linear",
        "svm",
        "x" * 5000,
    )
    kind = chosen.randrange(10)
    if kind < 7 or depth > 3:
        return chosen.choice(plain)
    several = [_value(chosen, depth + 1) for _ in range(chosen.randrange(4))]
    return several if kind < 9 else {text(chosen, 6): value for value in several}


def _params_text(ground: Ground) -> Reader:
    good = b"datasets: [demo]\ncorpora:\n  demo: {source: {kind: synthetic, seed: 7}, split: }\ntrain:\n  lr: 1e-3\n  seeds:\n  - 0\n"
    words = (
        b"&a ",
        b"*a",
        b"!!python/object:os.system ",
        b"<<: ",
        b"[" * 300,
        b"{",
        b"- ",
        b": ",
        b"%YAML 1.1\n",
        b"\t",
        b"? ",
        b"9" * 5000,
        b"2024-13-45",
        b"---\n",
    )

    def read(chosen: random.Random) -> None:
        Path("params.yaml").write_bytes(mutated(good, chosen, words))
        load("params.yaml")

    return read


def _bundle(ground: Ground) -> Reader:
    good = (ground.folder / "exports/demo" / bundle.FACTS).read_bytes()
    words = (b"null", b"1e400", b"-1", b"[]", b"{}", b'"', b"NaN", b"true", b"\\ud800", b"9" * 400)

    def read(chosen: random.Random) -> None:
        data = mutated(good, chosen, words)
        if chosen.random() < 0.5:
            data = _sealed(data)
        Path(bundle.FACTS).write_bytes(data)
        bundle.read(".")

    return read


def _sealed(data: bytes) -> bytes:
    """The same facts with a checksum that fits, so that what is behind the checksum is tried too."""
    try:
        values = json.loads(data)
        return json.dumps({**values, "facts_sha256": bundle.checksum(values)}).encode()
    except (ValueError, TypeError, RecursionError):
        return data


def _graph(ground: Ground) -> Reader:
    good = (ground.folder / "exports/demo" / bundle.MODEL).read_bytes()
    values = json.loads((ground.folder / "exports/demo" / bundle.FACTS).read_bytes())

    def read(chosen: random.Random) -> None:
        data = mutated(good, chosen, (b"Loop", b"If", b"Scan", b"\x0a\x04", b"external_data"))
        Path(bundle.MODEL).write_bytes(data)
        Path(bundle.FACTS).write_bytes(_sealed(json.dumps({**values, "model_sha256": hashlib.sha256(data).hexdigest()}).encode()))
        predictor = Predictor(".")
        predictor.recording("sound", lambda: io.BytesIO(_short()))

    return read


def _answer(ground: Ground) -> Reader:
    predictor = Predictor(ground.folder / "exports/demo", minutes=0.2)

    def read(chosen: random.Random) -> None:
        data = mutated(_short(), chosen) if chosen.random() < 0.3 else sounds.odd(chosen)[1]
        question = Question(upload.shown(text(chosen)), chosen.random() < 0.2, chosen.random() < 0.2)
        status, body = answers.answer(predictor, question, data)
        json.dumps(body, allow_nan=False)
        if status != 200:
            raise RefusedError(status, "refused", "")

    return read


def _sound(ground: Ground) -> Reader:
    settings = _parsed(ground).preprocess

    def read(chosen: random.Random) -> None:
        data = sounds.odd(chosen)[1]
        preprocessing.prepare(mutated(data, chosen) if chosen.random() < 0.5 else data, settings)

    return read


def _result(ground: Ground) -> Reader:
    good = (ground.folder / "metrics/corpora/demo.json").read_bytes()
    words = (b"null", b"1e400", b"-1", b"[]", b"{}", b'"', b"NaN", b"0.5", b"true")

    def read(chosen: random.Random) -> None:
        Path("demo.json").write_bytes(mutated(good, chosen, words))
        found = result.read("demo.json")
        found.line()
        found.text()

    return read


@cache
def _short() -> bytes:
    return sounds.whole(random.Random(3), 1)[1]


def _parsed(ground: Ground) -> Params:
    return load(ground.folder / "params.yaml")


def _zip(method: int) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as packed:
        for name in ("a/b/c.wav", "labels.csv", "ü/é.flac", "deep/" * 5 + "x.mp3"):
            packed.writestr(name, name.encode() * 50)
    return data.getvalue()


def _tar(mode: Any) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as packed:
        for name in ("a/b/c.wav", "labels.csv", "ü" * 60 + "/é.flac"):
            entry = tarfile.TarInfo(name)
            entry.size = 300
            packed.addfile(entry, io.BytesIO(bytes(300)))
        link = tarfile.TarInfo("link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    return data.getvalue()
