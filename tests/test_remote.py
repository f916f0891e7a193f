"""A second machine restores what a first one computed: a clone with an empty cache, and a DVC remote (a folder, and S3 on this machine)."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.pipeline import Project
from tests.test_pipeline import ran

pytestmark = pytest.mark.slow

MISSING = [name for name in ("dvc_s3", "moto", "flask") if importlib.util.find_spec(name) is None]


class Store(Protocol):
    """A remote whose objects a test can look at and damage."""

    url: str
    options: dict[str, str]
    secrets: dict[str, str]

    def objects(self) -> set[str]:
        """Keys of all objects."""

    def read(self, key: str) -> bytes:
        """Content of an object."""

    def write(self, key: str, content: bytes) -> None:
        """Put other bytes in its place, as a broken disk would."""


@dataclass
class Folder:
    """A remote in a folder."""

    root: Path

    def __post_init__(self) -> None:
        self.url, self.options, self.secrets = str(self.root), {}, {}

    def objects(self) -> set[str]:
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        (self.root / key).unlink()
        (self.root / key).write_bytes(content)


@dataclass
class Bucket:
    """A remote in a bucket of a server that speaks the protocol of S3."""

    client: Any
    address: str

    def __post_init__(self) -> None:
        self.url, self.options = "s3://team/ser", {"endpointurl": self.address, "region": "us-east-1"}
        self.secrets = {"access_key_id": "made", "secret_access_key": "up"}

    def objects(self) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="team", Prefix="ser/")
        return {one["Key"].removeprefix("ser/") for page in pages for one in page.get("Contents", [])}

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket="team", Key=f"ser/{key}")["Body"].read()

    def write(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket="team", Key=f"ser/{key}", Body=content)


@contextlib.contextmanager
def bucket() -> Iterator[Bucket]:
    """moto's server on a free port of this machine, with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        address = "http://{}:{}".format(*server.get_host_and_port())
        client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="made", aws_secret_access_key="up")
        client.create_bucket(Bucket="team")
        yield Bucket(client, address)
    finally:
        server.stop()


@dataclass
class Team:
    """A first machine that has pushed, and its store."""

    first: Project
    store: Store
    folder: Path

    def clone(self, name: str) -> Project:
        """A second machine, as docs/remotes.md makes it: nothing but a clone and the credentials."""
        second = machine(self.first, self.folder / name)
        self.first.run("git", "clone", "-q", str(self.first.folder), str(second.folder))
        second.run("git", "config", "user.email", "test@example.org")
        second.run("git", "config", "user.name", "Test")
        credentials(second, self.store)
        return second


def machine(project: Project, folder: Path) -> Project:
    """The same commands in another folder, with caches of their own."""
    other = copy.copy(project)
    other.folder = folder
    other.environment = {
        **project.environment,
        "SER_CACHE_DIR": str(folder.parent / f"{folder.name}-cache"),
        "DVC_SITE_CACHE_DIR": str(folder.parent / f"{folder.name}-site"),
        "NO_PROXY": "*",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return other


def credentials(project: Project, store: Store) -> None:
    for key, value in store.secrets.items():
        project.run("dvc", "remote", "modify", "--local", "store", key, value)


@pytest.fixture(
    scope="module", params=["folder", pytest.param("s3", marks=pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"))]
)
def team(request: pytest.FixtureRequest, finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    first = machine(finished, folder / "first")
    shutil.copytree(finished.folder, first.folder, symlinks=True)
    with bucket() if request.param == "s3" else contextlib.nullcontext(Folder(folder / "store")) as store:
        first.run("dvc", "remote", "add", "-d", "store", store.url)
        for key, value in {**store.options, "verify": "true"}.items():
            first.run("dvc", "remote", "modify", "store", key, value)
        credentials(first, store)
        first.run("dvc", "push")
        first.run("dvc", "push", "--run-cache")
        first.commit("the remote")
        yield Team(first, store, folder)


def test_credentials_stay_out_of_git(team):
    tracked = team.first.run("git", "grep", "-I", "-e", "access_key", "--", ".dvc", check=False)
    assert tracked.stdout == ""
    assert team.first.run("git", "status", "--porcelain").stdout == ""


def test_an_empty_clone_computes_nothing(team):
    second = team.clone("second")
    done = second.run("dvc", "repro", "--pull", "--allow-missing")
    assert ran(done.stdout) == set(), done.stdout
    assert second.run("git", "status", "--porcelain").stdout == ""
    second.run("dvc", "pull", "exports/demo")
    model = "exports/demo/model.onnx"
    assert (second.folder / model).read_bytes() == (team.first.folder / model).read_bytes()


def test_a_changed_training_brings_only_what_it_and_the_later_stages_read(team):
    second = team.clone("changed")
    second.run("dvc", "exp", "run", "--pull", "--allow-missing", "-S", "train.lr=0.003")
    lock = json.loads(second.run("dvc", "metrics", "show", "--json").stdout)
    assert lock
    assert (second.folder / "exports/demo/model.onnx").exists()
    assert not list((second.folder / "data/raw").glob("*"))  # DVC makes the empty folder
    assert not (second.folder / "data/clips/demo/rejected.csv").exists()


def broken(content: bytes) -> dict[str, bytes]:
    """What becomes of an object."""
    return {"cut": content[: len(content) // 2], "empty": b"", "flipped": content[:-1] + bytes([content[-1] ^ 1])}


@pytest.mark.parametrize("how", ["cut", "empty", "flipped"])
def test_a_damaged_object_is_refused_named_and_mended(team, how):
    path = sorted((team.first.folder / "models/demo").glob("*.safetensors"))[0].relative_to(team.first.folder)
    whole = (team.first.folder / path).read_bytes()
    md5 = hashlib.md5(whole, usedforsecurity=False).hexdigest()
    key = f"files/md5/{md5[:2]}/{md5[2:]}"
    assert team.store.read(key) == whole
    team.store.write(key, broken(whole)[how])

    second = team.clone(f"damaged-{how}")
    pulled = second.run("dvc", "pull", "models/demo", check=False)
    assert pulled.returncode != 0
    assert "models/demo" in pulled.stdout + pulled.stderr
    assert not (second.folder / path).exists()
    assert not (second.folder / f".dvc/cache/{key}").exists()

    said = remote(second)
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert f"{key}, {path} of train@demo; not whole here" in said.stderr
    assert "run `python -m stages.remote --mend` on a machine whose `make doctor` finds all whole" in said.stderr

    assert f"{path} of train@demo; whole in the cache here: python -m stages.remote --mend" in remote(team.first).stderr
    mended = remote(team.first, "--mend")
    assert mended.returncode == 0, mended.stderr
    assert f"mended: {path} (train@demo)" in mended.stderr
    assert team.store.read(key) == whole
    second.run("dvc", "pull", "models/demo")
    assert (second.folder / path).read_bytes() == whole


def test_a_whole_remote_is_said_to_be_whole_and_a_missing_check_is_said(team):
    assert "all outputs in dvc.lock are whole in the remote store\n" in remote(team.first).stderr
    second = team.clone("unchecked")
    second.run("dvc", "remote", "modify", "--local", "store", "verify", "false")
    assert "let it check: dvc remote modify store verify true" in remote(second).stderr


def test_without_a_remote_and_with_a_silent_one_it_says_what_to_do(team):
    second = team.clone("lonely")
    second.run("dvc", "remote", "add", "--local", "-d", "elsewhere", "s3://team/ser" if MISSING else "/nowhere/at/all")
    said = remote(second)
    assert said.returncode in (0, 1)
    assert "Traceback" not in said.stderr
    second.run("git", "checkout", "-q", "HEAD~1", "--", ".dvc/config")
    (second.folder / ".dvc/config.local").unlink()
    said = remote(second)
    assert said.returncode == 1
    assert "no remote is set: dvc remote add -d NAME ADDRESS" in said.stderr


def remote(project: Project, *options: str) -> subprocess.CompletedProcess[str]:
    return project.run("python", "-m", "stages.remote", *options, check=False)
