"""What an experiment leaves in params.yaml is said, and `--reset` undoes it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from ser import SerError
from stages import changes
from tests.pipeline import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose last commit has the project's params.yaml and presets, and whose .venv runs this Python."""
    for name in ("Makefile", "params.yaml", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "docs/presets", tmp_path / "docs/presets")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name, does in {"python": f'exec "{sys.executable}" "$@"', "dvc": "true"}.items():
        (tmp_path / ".venv/bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    (tmp_path / ".venv/.installed").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MAKEFLAGS", "")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git("init", "-q")
    git("add", "params.yaml")
    git("-c", "user.email=a@example.org", "-c", "user.name=A", "commit", "-qm", "start")
    return tmp_path


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True)


def ran(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=600)


def stage(*words: str) -> subprocess.CompletedProcess[str]:
    return ran(sys.executable, "-m", *words)


def test_nothing_is_said_of_params_as_committed(project: Path) -> None:
    done = stage("stages.changes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_an_experiment_left_is_named(project: Path) -> None:
    apply_overrides(project / "params.yaml", ["model.fusion=concat", "train.seeds=[0,1]"])
    assert stage("stages.changes").stdout == (
        "params.yaml differs from the last commit in: model.fusion = concat, train.seeds = [0,1]. `make reset` restores it.\n"
    )


def test_a_refused_value_that_stays_in_the_file_is_named_with_the_way_back(project: Path) -> None:
    apply_overrides(project / "params.yaml", ["train.lr=fast"])
    done = stage("stages.split", "--dataset", "demo")
    assert done.returncode == 1
    assert "found 'fast'" in done.stderr
    assert "differs from the last commit in: train.lr = fast. `make reset` restores it." in done.stderr


def test_training_begins_with_what_it_carries(project: Path) -> None:
    apply_overrides(project / "params.yaml", ["model.fusion=concat"])
    done = stage("stages.train", "--dataset", "demo")  # ends without features, after it has said so
    assert "differs from the last commit in: model.fusion = concat." in done.stderr


def test_a_preset_on_top_of_an_experiment_is_said(project: Path) -> None:
    apply_overrides(project / "params.yaml", ["split.folds=3", "model.fusion=gate"])
    done = ran("make", "experiment", "PRESET=zenkov")
    assert done.returncode == 0, done.stderr
    assert "this experiment includes: split.folds;" in done.stderr  # the preset sets model.fusion itself
    assert "differs from the last commit in: " in done.stdout


def test_a_preset_s_many_keys_are_counted(project: Path) -> None:
    words = stage("stages.preset", "paper").stdout.split()[1::2]
    apply_overrides(project / "params.yaml", words)
    said = stage("stages.changes").stdout
    assert " more. `make reset`" in said
    assert len(said) < 400


def test_make_reset_restores_params_and_nothing_else(project: Path) -> None:
    committed = (project / "params.yaml").read_bytes()
    apply_overrides(project / "params.yaml", ["model.fusion=concat"])
    (project / "Makefile").write_text((project / "Makefile").read_text() + "# mine\n")
    done = ran("make", "reset")
    assert done.returncode == 0, done.stderr
    assert "model.fusion was concat" in done.stdout
    assert "nothing else was touched" in done.stdout
    assert (project / "params.yaml").read_bytes() == committed
    assert (project / "Makefile").read_text().endswith("# mine\n")
    assert "already as in the last commit" in ran("make", "reset").stdout


def test_make_reset_takes_back_what_a_killed_experiment_had_staged(project: Path) -> None:
    """``dvc exp run`` stages params.yaml; if it is killed, the next one would end in "Stash apply resulted in merge conflicts"."""
    apply_overrides(project / "params.yaml", ["model.fusion=concat"])
    git("add", "params.yaml")
    for _ in range(2):  # also where params.yaml itself is as committed already
        assert ran("make", "reset").returncode == 0
        assert ran("git", "status", "--porcelain", "params.yaml").stdout == ""


@pytest.mark.parametrize(
    ("override", "section"), [("+corpora.cafe.labels={classes: [sad]}", "corpora.cafe"), ("+features.tilt={db: 1}", "features.tilt")]
)
def test_make_reset_never_takes_a_new_corpus_or_view(project: Path, override: str, section: str) -> None:
    apply_overrides(project / "params.yaml", [override])
    before = (project / "params.yaml").read_bytes()
    assert f"Commit {section} before `make reset`." in stage("stages.changes").stdout
    done = ran("make", "reset")
    assert done.returncode != 0
    assert f"would remove {section} from params.yaml: commit first" in done.stderr
    assert (project / "params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a: [", "could not be read"), (b"", "could not be read"), (b"\xff", "could not be read"), (None, "only its layout or comments")],
)
def test_make_reset_says_what_it_undid_where_no_key_can_be_named(project: Path, content: bytes | None, said: str) -> None:
    committed = (project / "params.yaml").read_bytes()
    (project / "params.yaml").write_bytes(committed + b"\n# mine\n" if content is None else content)
    assert said in stage("stages.changes", "--reset").stdout
    assert (project / "params.yaml").read_bytes() == committed


def test_without_a_commit_there_is_nothing_to_restore(project: Path) -> None:
    shutil.rmtree(project / ".git")
    done = stage("stages.changes", "--reset")
    assert done.returncode == 1
    assert "no commit with params.yaml" in done.stderr
    assert stage("stages.changes").stdout == ""


@pytest.mark.parametrize(
    "text",
    [
        "zz: &a [*a]", "zz: &a {b: *a}", "zz: !!int abc", "zz: !!float abc", "zz: !!bool abc", "zz: 0x" + "f" * 10_000,
        "zz: " + "{a: " * 3000 + "1" + "}" * 3000, "zz: &a [x, x, &b [*a, *a]]", "zz: [" + "&a0 [x,x,x]," + ",".join(
            f"&a{number} [{','.join([f'*a{number - 1}'] * 9)}]" for number in range(1, 30)) + "]",
    ],
)  # fmt: skip
def test_what_yaml_can_say_beyond_values_is_refused_in_words(project: Path, text: str) -> None:
    """A stage says what is wrong with params.yaml, and then what differs from the last commit: both have to live through it."""
    with open("params.yaml", "a") as stream:
        stream.write(text + "\n")
    done = stage("stages.split", "--dataset", "demo")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: params.yaml ")
    assert stage("stages.changes").returncode == 0


def test_a_name_commands_no_terminal(project: Path) -> None:
    with open("params.yaml", "a") as stream:
        stream.write('"\\e[2J\\a": "\\e[31m"\n')
    for done in (stage("stages.split", "--dataset", "demo"), stage("stages.split", "--dataset", "\x1b[2J"), stage("stages.changes")):
        assert "\x1b" not in done.stdout + done.stderr
        assert "\\x1b[2J" in done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_in_place_of_params_ends_in_words(project: Path, kind: str) -> None:
    (project / "params.yaml").unlink()
    (project / "params.yaml").mkdir() if kind == "folder" else os.mkfifo(project / "params.yaml")
    for words, status in ((["stages.split", "--dataset", "demo"], 1), (["stages.changes"], 0), (["stages.changes", "--reset"], 1)):
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=60)
        assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
        assert status == 0 or done.stderr.startswith("error: params.yaml ")


def test_params_that_cannot_be_written_are_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply_overrides(project / "params.yaml", ["model.fusion=concat"])

    def refused(path: Path, content: bytes) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "write_bytes", refused)
    with pytest.raises(SerError, match=r"params.yaml: Permission denied \("):
        changes.reset()


def test_a_full_disk_leaves_the_values_as_they_were(project: Path) -> None:
    apply_overrides(project / "params.yaml", ["model.fusion=concat"])
    before = (project / "params.yaml").read_bytes()
    done = ran("bash", "-c", f"ulimit -f 2; {sys.executable} -m stages.changes --reset")
    assert done.returncode == 1
    assert re.fullmatch(r"error: params\.yaml\S*: File too large \(.*\)\n", done.stderr), done.stderr
    assert (project / "params.yaml").read_bytes() == before
    assert not list(project.glob("*.part"))


def test_reset_says_that_git_s_index_could_not_be_restored(project: Path) -> None:
    """A killed git leaves a lock behind."""
    apply_overrides(project / "params.yaml", ["model.fusion=concat"])
    git("add", "params.yaml")
    (project / ".git/index.lock").touch()
    for _ in range(2):  # also where params.yaml itself is as committed already
        done = stage("stages.changes", "--reset")
        assert done.returncode == 1
        assert "git's index holds another version" in done.stderr
        assert "index.lock" in done.stderr
    (project / ".git/index.lock").unlink()
    assert stage("stages.changes", "--reset").returncode == 0
    assert ran("git", "status", "--porcelain", "params.yaml").stdout == ""


def test_reset_never_drops_the_other_side_of_a_merge(project: Path) -> None:
    for name, value in {"user.email": "a@example.org", "user.name": "A"}.items():
        git("config", name, value)
    git("checkout", "-qb", "side")
    for branch, fusion in (("side", "concat"), ("other", "gate")):
        if branch == "other":
            git("checkout", "-q", "-b", "other", "HEAD~1")
        apply_overrides(project / "params.yaml", [f"model.fusion={fusion}"])
        git("commit", "-qam", branch)
    assert ran("git", "merge", "side").returncode == 1
    before = (project / "params.yaml").read_bytes()
    done = stage("stages.changes", "--reset")
    assert done.returncode == 1
    assert "params.yaml is in conflict" in done.stderr
    assert (project / "params.yaml").read_bytes() == before
    assert ran("git", "status", "--porcelain", "params.yaml").stdout == "UU params.yaml\n"
