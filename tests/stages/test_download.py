"""download → preprocess → split through the real code, on archives in each corpus' public layout, served over HTTP."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fixtures import archives
from fixtures.server import Served, Server, serving
from ruamel.yaml import YAML

from ser import SerError
from ser.corpora.listing import list_recordings
from ser.download import transfer, zenodo
from ser.params import Params, load, parse
from ser.signal.clips import read
from stages import download, preprocess, split

ROOT = Path(__file__).parents[2]
MIRROR = Path(os.environ.get("SER_MIRROR") or ROOT.parent / "shared/data")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setattr(transfer, "PAUSES", (0.01,))
    monkeypatch.setattr(transfer, "UNREACHABLE_PAUSES", (0.01,))
    for name, value in {
        "NO_PROXY": "*",
        "SER_CACHE_DIR": str(tmp_path / "cache"),
        "SER_WORKERS": "1",
        "KAGGLE_CONFIG_DIR": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SER_MIRROR", raising=False)
    monkeypatch.chdir(tmp_path)
    with serving() as running:
        monkeypatch.setattr(zenodo, "API", running.address + "/api/records")
        yield running


def values(**corpora: dict[str, Any]) -> dict[str, Any]:
    """The project's parameters with other sources, in plain values."""
    given = load(ROOT / "params.yaml").model_dump()
    for name, source in corpora.items():
        given["corpora"][name]["source"] |= source
    return given


def publish(server: Server, name: str, packed: list[Path]) -> dict[str, Any]:
    """Serve archives where the corpus says they are, which for fixtures is here; returns what its source must say then."""
    source = values()["corpora"][name]["source"]
    if source["kind"] == "zenodo" and not source["archives"]:
        entries = []
        for path in packed:
            url = f"{server.address}/files/{path.name}/content"
            server.files[f"/files/{path.name}/content"] = Served(path.read_bytes(), drops=1, drop_after=100_000)
            entries.append({"key": path.name, "size": path.stat().st_size, "checksum": md5(path), "links": {"self": url}})
        server.files[f"/api/records/{source['record']}"] = Served(json.dumps({"files": entries}).encode())
        return {}
    for path, archive in zip(packed, source["archives"], strict=True):
        assert path.name == archive["name"]
        archive["url"], archive["checksum"] = f"{server.address}/{path.name}", md5(path)
        server.files[f"/{path.name}"] = Served(path.read_bytes(), drops=1, drop_after=100_000)
    if source["kind"] == "zenodo":
        entries = [{"key": path.name, "size": path.stat().st_size, "checksum": md5(path), "links": {"self": "http://x"}} for path in packed]
        server.files[f"/api/records/{source['record']}"] = Served(json.dumps({"files": entries}).encode())
    return {"archives": source["archives"]}


def md5(path: Path) -> str:
    return "md5:" + hashlib.md5(path.read_bytes()).hexdigest()


def run(name: str, params: Params) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """The three stages; returns clips.csv, rejected.csv and the split's summary, after checking that nothing was lost."""
    options = argparse.Namespace(dataset=name, changed=False)
    download.main(params, options)
    preprocess.main(params, options)
    split.main(params, options)
    clips = read(Path("data/clips") / name, params.preprocess.sample_rate)
    rejected = pd.read_csv(Path("data/clips") / name / "rejected.csv", keep_default_na=False)
    summary = json.loads((Path("data/clips") / name / "summary.json").read_text())
    assert summary["files_found"] == len(clips) + len(rejected) == summary["kept"] + sum(summary["rejected"].values())
    assert clips.table["samples"].sum() == len(clips.audio)
    folds = pd.read_csv(Path("data/folds") / f"{name}.csv")
    assert set(folds["clip"]) <= set(clips.table["clip"])
    return clips.table, rejected, json.loads((Path("data/folds") / f"{name}.json").read_text())


def independent(report: dict[str, Any]) -> bool:
    return report["speaker_independent"] and report["leaks"]["speaker"] == 0 == report["leaks"]["content"]


def test_ravdess(server: Server, tmp_path: Path) -> None:
    packed = archives.ravdess(tmp_path / "made")
    clips, rejected, report = run("ravdess", parse(values(ravdess=publish(server, "ravdess", packed))))
    assert sorted(clips["clip"]) == sorted(archives.ravdess_names())
    assert rejected.empty
    assert (report["protocol"], len(report["folds"])) == ("official", 6)
    assert report["folds"]["1"]["test_speakers"] == ["01", "11", "20", "21"]
    assert independent(report)
    assert any(start for _, start in server.asked)  # the connection broke once, and the transfer was resumed


def test_kaggle_s_ravdess_is_kept_once(server: Server, tmp_path: Path) -> None:
    packed = archives.ravdess(tmp_path / "made", kaggle=True)
    clips, rejected, report = run("ravdess", parse(values(ravdess=publish(server, "ravdess", packed))))
    assert sorted(clips["clip"]) == sorted(archives.ravdess_names())
    assert Counter(rejected["reason"]) == {"duplicate": 192}
    assert rejected["path"].str.startswith("audio_speech_actors_01-24/").all()
    assert independent(report)


def test_asvp_esd_v1(server: Server, tmp_path: Path) -> None:
    packed = archives.asvp_v1(tmp_path / "made")
    clips, rejected, report = run("asvp_esd_v1", parse(values(asvp_esd_v1=publish(server, "asvp_esd_v1", packed))))
    assert Counter(clips["emotion"]) == dict.fromkeys(("neutral", "happy", "sad", "angry", "fearful", "surprised"), 8)
    assert Counter(rejected["reason"]) == {"class_not_in_task": 48, "not_audio": 3}
    assert independent(report)


def test_asvp_esd_v2(server: Server, tmp_path: Path) -> None:
    packed = archives.asvp_v2(tmp_path / "made")
    clips, rejected, report = run("asvp_esd_v2", parse(values(asvp_esd_v2=publish(server, "asvp_esd_v2", packed))))
    assert clips["emotion"].nunique() == 13
    assert set(archives.ASVP_DIRT) <= set(clips["clip"])
    assert Counter(rejected["reason"]) == {"not_audio": 3, "unknown_emotion": 1}
    assert Counter(clips["channel"])["nonspeech"] > 40
    assert independent(report)


@pytest.mark.parametrize(("edition", "neutral"), [("corrected", 18), ("filename", 16)])
def test_shemo(server: Server, tmp_path: Path, edition: str, neutral: int) -> None:
    packed = archives.shemo(tmp_path / "made")
    given = values(shemo=publish(server, "shemo", packed))
    given["corpora"]["shemo"]["labels"]["edition"] = edition
    clips, rejected, report = run("shemo", parse(given))
    assert Counter(rejected["reason"]) == {"class_not_in_task": 16}
    assert Counter(clips["emotion"])["neutral"] == neutral
    assert Counter(clips["gender"]) == {"female": 42, "male": 41}
    assert json.loads(Path("data/clips/shemo/summary.json").read_text())["label_edition"] == edition
    assert independent(report)


def test_emodb(server: Server, tmp_path: Path) -> None:
    packed = archives.emodb(tmp_path / "made")
    clips, rejected, report = run("emodb", parse(values(emodb=publish(server, "emodb", packed))))
    assert Counter(clips["emotion"]) == dict.fromkeys(("angry", "boredom", "disgust", "fearful", "happy", "sad", "neutral"), 10)
    assert list(rejected["path"]) == ["README.md"]
    assert independent(report)


def test_own_recordings(server: Server, tmp_path: Path) -> None:
    archives.own_recordings(tmp_path / "mine")
    clips, rejected, report = run("folder", parse(values(folder={"path": "mine"})))
    assert Counter(clips["emotion"]) == {"calm": 12, "tense": 12}
    assert clips["speaker"].nunique() == 6
    assert rejected.empty
    assert independent(report)


def test_a_joint_corpus_is_split_across_its_members(server: Server, tmp_path: Path) -> None:
    given = values(
        emodb=publish(server, "emodb", archives.emodb(tmp_path / "made")),
        shemo=publish(server, "shemo", archives.shemo(tmp_path / "made")),
        joint={"members": ["shemo", "emodb"]},
    )
    given["corpora"]["joint"]["labels"]["classes"] = ["neutral", "happy", "sad", "angry"]
    given["split"] |= {"protocol": "cross_corpus", "train_on": ["shemo"], "test_on": ["emodb"]}
    clips, _, report = run("joint", parse(given))
    assert Counter(clips["corpus"]) == {"shemo": 67, "emodb": 40}
    assert all(one.startswith(("shemo:", "emodb:")) for one in clips["speaker"])
    assert report["folds"]["1"]["test"] == 40
    assert independent(report)


def test_every_corpus_comes_from_a_mirror_that_is_served(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: dict[str, str] = {}
    for path in sorted(archives.mirror(tmp_path / "mirror").rglob("*.*")):
        place = f"/m/{path.relative_to(tmp_path / 'mirror')}"
        server.files[place] = Served(path.read_bytes())
        pages[str(Path(place).parent)] = pages.get(str(Path(place).parent), "") + f'<a href="{path.name}">{path.name}</a>'
    server.files |= {f"{place}/": Served(page.encode(), kind="text/html") for place, page in pages.items()}
    monkeypatch.setenv("SER_MIRROR", f"{server.address}/m")
    params = parse(values())
    for name, recordings in {"ravdess": 192, "asvp_esd_v1": 48, "asvp_esd_v2": 114, "shemo": 83, "emodb": 70}.items():
        download.main(params, argparse.Namespace(dataset=name, changed=False))
        found, _ = list_recordings(name, params.corpora[name], Path("data/raw") / name)
        assert len(found) == recordings
        assert "mirror's own edition" in json.loads((Path("data/raw") / name / "source.json").read_text())["edition"]


# the command itself


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("SER_MIRROR", "SER_CACHE_DIR")}
    given = kept | {"NO_PROXY": "*", "SER_CACHE_DIR": str(folder / "cache")} | environment
    return subprocess.run(
        [sys.executable, "-m", "stages.download", *arguments], cwd=folder, env=given, capture_output=True, text=True, timeout=600
    )


def project(folder: Path) -> Path:
    """The project's parameters and code, to run commands in."""
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(values(), file)
    for name in ("stages", "ser"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def test_the_command_says_in_one_line_what_came(tmp_path: Path) -> None:
    archives.emodb(tmp_path / "mirror/emodb")
    ended = command(project(tmp_path), "--dataset", "emodb", SER_MIRROR=str(tmp_path / "mirror"))
    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) == 1
    assert ended.stdout.startswith("emodb: emodb_2.0.zip (")
    assert "not verified" in ended.stdout


@pytest.mark.parametrize(
    ("name", "places"),
    [
        (
            "asvp_esd_v1",
            ["put the zip or tar archives of this record, named as they are, into <folder>/asvp_esd_v1/", "zenodo.org/records/3782416"],
        ),
        ("asvp_esd_v2", ["into <folder>/asvp_esd_v2/", "zenodo.org/records/7132783"]),
        ("shemo", ["put it at <folder>/shemo/female.zip", "put it at <folder>/shemo/male.zip", "Kaggle's mansourekh/shemo"]),
        ("ravdess", ["put it at <folder>/ravdess/Audio_Speech_Actors_01-24.zip"]),
    ],
)
def test_without_a_network_the_command_ends_with_what_to_put_where(tmp_path: Path, name: str, places: list[str]) -> None:
    nobody = {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "NO_PROXY": "",
        "no_proxy": "",
        "KAGGLE_CONFIG_DIR": "/nowhere",
    }
    ended = command(project(tmp_path), "--dataset", name, **nobody)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"error: {name}: ")
    for text in [*places, "set SER_MIRROR=<folder>", "dvc pull data/raw/" + name, "datasets: [demo]"]:
        assert text in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "data/raw" / name).iterdir())


def test_the_command_starts_without_the_heavy_packages() -> None:
    code = (
        "import sys, stages.download; print([name for name in ('torch', 'librosa', 'pandas', 'scipy', 'soundfile') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_help_needs_no_parameters(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-m", "stages.download", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0
    assert "SER_MIRROR" in ended.stdout


def test_a_failed_stage_leaves_nothing_that_the_next_one_takes(server: Server, tmp_path: Path) -> None:
    params = parse(values(emodb=publish(server, "emodb", archives.emodb(tmp_path / "made"))))
    server.files["/emodb_2.0.zip"].status = 403
    options = argparse.Namespace(dataset="emodb", changed=False)
    with pytest.raises(SerError, match="403 Forbidden"):
        download.main(params, options)
    with pytest.raises(SerError, match="run `dvc repro download@emodb` first"):
        preprocess.main(params, options)
    server.files["/emodb_2.0.zip"].status = 200
    run("emodb", params)


# several corpora at once


NOBODY = "http://127.0.0.1:9"
"""An address that refuses connections."""


def out_of_reach(*names: str) -> dict[str, dict[str, Any]]:
    """Sources whose archives lie where nobody answers."""
    given = values()["corpora"]
    return {name: {"archives": [{**one, "url": f"{NOBODY}/{one['name']}"} for one in given[name]["source"]["archives"]]} for name in names}


def test_a_failure_fetches_and_makes_nothing_of_the_other_corpora(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = out_of_reach("shemo") | {
        "ravdess": publish(server, "ravdess", archives.ravdess(tmp_path / "made")),
        "joint": {"members": ["folder", "shemo", "demo"]},
    }
    archives.asvp_v2(tmp_path / "mirror/asvp_esd_v2")
    monkeypatch.setenv("SER_MIRROR", str(tmp_path / "mirror"))
    given = values(**sources) | {"datasets": ["demo", "shemo", "ravdess", "asvp_esd_v2", "folder", "joint"]}
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SerError) as told:
        download.main(parse(given), argparse.Namespace(dataset="shemo", changed=False))
    assert str(told.value).count("could not be fetched") == 1
    assert str(told.value).startswith("shemo: female.zip could not be fetched")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file() and path not in before} == {"female.zip.lock"}
    assert [path.name for path in Path("data/raw").iterdir()] == ["shemo"]


@pytest.mark.parametrize("failed", ["shemo", "joint"])
def test_a_failure_tells_once_of_each_other_corpus_that_cannot_come_either(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failed: str
) -> None:
    monkeypatch.setattr(zenodo, "API", f"{NOBODY}/api")
    sources = out_of_reach("shemo", "ravdess") | {"joint": {"members": ["shemo", "demo"]}, "demo": {"speakers": 2, "sentences": 1}}
    given = values(**sources) | {"datasets": ["demo", "ravdess", "shemo", "emodb", "asvp_esd_v1", "joint"]}
    Path("data/raw/emodb").mkdir(parents=True)
    Path("data/raw/emodb/source.json").write_text("{}")  # has come
    with pytest.raises(SerError) as told:
        download.main(parse(given), argparse.Namespace(dataset=failed, changed=False))
    first = [line.partition(":")[0] for line in str(told.value).splitlines() if "could not be fetched" in line]
    assert first == ["shemo", "ravdess", "asvp_esd_v1"]
    assert f"dvc pull data/raw/{failed}" in str(told.value)


def test_own_recordings_that_are_not_there_are_the_message_themselves(server: Server, tmp_path: Path) -> None:
    given = values(**out_of_reach("shemo"), joint={"members": ["folder", "shemo"]}) | {"datasets": ["shemo", "joint"]}
    with pytest.raises(SerError, match="recordings"):
        download.main(parse(given), argparse.Namespace(dataset="joint", changed=False))


# the real thing


@pytest.mark.slow
def test_the_real_ravdess(server: Server) -> None:
    if not (MIRROR / "ravdess/Audio_Speech_Actors_01-24.zip.md5").is_file():
        pytest.skip(f"no RAVDESS in {MIRROR} (SER_MIRROR)")
    os.environ["SER_MIRROR"] = str(MIRROR.resolve())
    try:
        clips, rejected, report = run("ravdess", parse(values()))
    finally:
        del os.environ["SER_MIRROR"]
    assert len(clips) + len(rejected) == 1440
    assert len(clips) > 1430
    assert len(report["folds"]) == 6
    assert independent(report)
