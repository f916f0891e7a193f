"""`python -m stages.compare` on a small repository: commits, an experiment, the workspace, and what it says when it cannot."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.exceptions import DvcException

from ser import SerError
from ser.evaluation import predictions
from ser.params import load
from ser.runtime import sums
from stages import compare, descent
from stages.paths import Paths
from tests import predicted

ROOT = Path(__file__).resolve().parents[2]

DVC_YAML = """\
stages:
  preprocess:
    cmd: mkdir -p data/clips/demo && cp clips.csv data/clips/demo/
    deps:
    - clips.csv
    outs:
    - data/clips/demo
  evaluate:
    cmd: mkdir -p data/predictions && cp made.csv data/predictions/demo.csv
    deps:
    - made.csv
    outs:
    - data/predictions/demo.csv
"""


class Repository:
    """A git and DVC repository whose pipeline copies made-up predictions to where evaluate writes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = predicted.clips(speakers=12)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SER_", "DVC_", "GIT_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder.parent / "site"),
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        folder.mkdir()
        for command in (["git", "init", "-q"], ["git", "config", "user.email", "a@example.org"], ["git", "config", "user.name", "A"]):
            self.run(*command)
        self.run("dvc", "init", "-q")
        (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
        (folder / "dvc.yaml").write_text(DVC_YAML)
        (folder / ".gitignore").write_text("/data/\n")
        self.table.to_csv(folder / "clips.csv", index=False)

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def repro(self, skill: float, seeds: tuple[int, ...] = (0,)) -> None:
        (self.folder / "made.csv").write_text(predictions.to_text(predicted.predictions(self.table, seeds=seeds, skill=skill)))
        self.run("dvc", "repro", "-q")

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "results")

    def compare(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stages.compare", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """HEAD~1 is weak, HEAD strong, the experiment `stronger` and the workspace stronger still, `seeds` HEAD~1 in three seeds."""
    made = Repository(tmp_path_factory.mktemp("compare") / "repository")
    for skill in (0.4, 1.2):
        made.repro(skill)
        made.commit()
    made.repro(0.4, seeds=(0, 1, 2))
    made.run("dvc", "exp", "save", "-n", "seeds")
    made.repro(2.4)
    made.run("dvc", "exp", "save", "-n", "stronger")
    return made


def test_two_revisions(repository, tmp_path):
    done = repository.compare("HEAD~1", "HEAD", "--json", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr
    assert "## demo: HEAD~1 → HEAD" in done.stdout
    assert "**distinguishable**" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())["demo"]
    assert found["ua"]["difference"] > 0.1
    assert found["ua"]["ci"][0] > 0
    assert 0 < found["ua"]["p"] < 0.05
    assert (found["rev_a"], found["rev_b"], found["clips"]) == ("HEAD~1", "HEAD", 192)


def test_an_experiment_by_name_is_the_workspace_it_was_saved_from(repository):
    done = repository.compare("stronger", "workspace", "--dataset", "demo")
    assert done.returncode == 0, done.stderr
    assert "**not distinguishable**: UA +0.0 points" in done.stdout
    assert "**distinguishable**" in repository.compare("HEAD~1", "stronger").stdout


def test_the_average_of_runs_stands_for_a_run(repository):
    done = repository.compare("HEAD~1", "HEAD~1+stronger")
    assert done.returncode == 0, done.stderr
    assert "## demo: HEAD~1 → HEAD~1+stronger" in done.stdout
    assert "**distinguishable**" in done.stdout
    assert "not distinguishable" in repository.compare("HEAD", "HEAD+HEAD").stdout


@pytest.mark.parametrize("revision", ["", "HEAD+", "+HEAD"])
def test_an_empty_revision_is_not_the_workspace(repository, revision):
    done = repository.compare("HEAD", revision)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {revision!r} names an empty revision")


@pytest.mark.parametrize(("where", "says"), [("none/found.json", "there is no folder"), (".", "Is a directory"), ("", "Is a directory")])
def test_where_the_figures_cannot_go_is_said_at_once(repository, where, says):
    done = repository.compare("HEAD", "HEAD", "--json", where)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("when", "says"),
    [("at once", "a database of DVC cannot be used: disk I/O error; its disk may be full"), ("late", "old.json: File too large")],
)
def test_a_full_disk_leaves_the_old_figures(repository, when, says):
    (repository.folder / "old.json").write_text("old")
    code = (
        "import json, resource, runpy, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); dumps = json.dumps\n"
        "full = lambda *given, **how: (resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50)), dumps(*given, **how))[1]\n"
        f"json.dumps = full if {when == 'late'} else full('') and dumps\n"
        "runpy.run_module('stages.compare', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "workspace", "workspace", "--json", "old.json"],
        cwd=repository.folder, env=repository.environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert (repository.folder / "old.json").read_text() == "old"
    assert not list(repository.folder.glob("old.json.*"))


def test_figures_may_go_to_standard_output(repository):
    done = repository.compare("HEAD", "HEAD", "--json", "/dev/stdout")
    assert done.returncode == 0, done.stderr
    assert '"rev_a": "HEAD"' in done.stdout


@pytest.mark.parametrize("file", ["data/predictions/demo.csv", "data/clips/demo/clips.csv"])
@pytest.mark.parametrize("spoil", [lambda text: b"\xff" + text, lambda text: b"".join(text.splitlines(keepends=True)[:-3])])
def test_a_workspace_that_is_not_as_its_stage_left_it_is_refused(repository, monkeypatch, file, spoil):
    path = repository.folder / file
    whole = path.read_bytes()
    monkeypatch.chdir(repository.folder)
    sums.leave(Path("data/sums/demo/evaluate.json"), sums.of([Paths("demo").predictions]))
    sums.leave(Path("data/sums/demo/preprocess.json"), sums.of([Paths("demo").clips]))
    path.unlink()  # it may be a link to DVC's cache
    path.write_bytes(spoil(whole))
    try:
        done = repository.compare("HEAD", "workspace") if "predictions" in file else repository.compare("workspace", "HEAD")
    finally:
        path.write_bytes(whole)
        shutil.rmtree("data/sums")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {file} is damaged or of another run: ")
    assert "Traceback" not in done.stderr


def test_predictions_of_other_clips_than_there_are_now_are_refused(repository, monkeypatch):
    """Somebody ran preprocess by hand, and forgot what comes after it."""
    monkeypatch.chdir(repository.folder)
    preprocess, evaluate = (Path(f"data/sums/demo/{stage}.json") for stage in ("preprocess", "evaluate"))
    before = sums.of([Paths("demo").clips])
    sums.leave(preprocess, before.replace("clips.csv", "other.csv"))
    seen = {"preprocess": descent.digest(preprocess)}
    content = sums.of([Paths("demo").predictions])
    descent.note(evaluate, content, "evaluate", "demo", load(Path("params.yaml")), seen)
    sums.leave(evaluate, content)
    sums.leave(preprocess, before)
    try:
        refused, other = repository.compare("HEAD", "workspace"), repository.compare("HEAD", "HEAD")
    finally:
        shutil.rmtree("data/sums")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: what evaluate left of demo was made of other files than those that preprocess has left since")
    assert other.returncode == 0


def test_a_workspace_in_another_encoding_is_one_message(repository):
    path = repository.folder / "data/predictions/demo.csv"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(b"\xff\xfe")
    try:
        done = repository.compare("HEAD", "workspace")
    finally:
        path.write_bytes(whole)
    assert done.returncode == 1
    assert done.stderr.startswith("error: data/predictions/demo.csv at workspace is damaged: it is not text in UTF-8")


def test_a_revision_against_itself(repository):
    assert "p = 1 " in repository.compare("HEAD", "HEAD").stdout


def test_what_it_is_worth_to_know_the_speakers(repository, tmp_path):
    found = {}
    for how in ("a", "b", "both"):
        done = repository.compare("HEAD", "HEAD", "--knowing-speakers", how, "--json", str(tmp_path / "found.json"))
        assert done.returncode == 0, done.stderr
        found[how] = json.loads((tmp_path / "found.json").read_text())["demo"]
    plain, knowing = found["b"]["ua"]["a"], found["b"]["ua"]["b"]
    assert plain != knowing
    assert (found["a"]["ua"]["a"], found["a"]["ua"]["b"]) == (knowing, plain)
    assert (found["both"]["ua"]["a"], found["both"]["ua"]["b"]) == (knowing, knowing)
    assert (found["b"]["rev_a"], found["b"]["rev_b"]) == ("HEAD", "HEAD, knowing speakers")


def test_an_ensemble_against_the_mean_of_its_networks(repository, tmp_path):
    file = tmp_path / "found.json"
    assert repository.compare("seeds", "seeds", "--ensemble", "b", "--json", str(file)).returncode == 0
    found = json.loads(file.read_text())["demo"]
    assert (found["rev_a"], found["rev_b"], found["seeds"]) == ("seeds", "seeds, ensemble", [3, 1])
    assert found["ua"]["difference"] > 0  # independent errors average out
    done = repository.compare("seeds", "seeds", "--ensemble", "both", "--knowing-speakers", "b", "--json", str(file))
    assert done.returncode == 0, done.stderr
    both = json.loads(file.read_text())["demo"]
    assert both["ua"]["a"] == found["ua"]["b"] != both["ua"]["b"]
    assert both["rev_b"] == "seeds, knowing speakers, ensemble"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("HEAD", "no-such-thing"), "data/predictions/demo.csv at no-such-thing cannot be read"),
        (("HEAD", "x" * 5000), "cannot be read"),
        (("HEAD", "workspace", "--dataset", "ravdess"), "ran with ravdess in `datasets`"),
        (("HEAD", "HEAD", "--dataset", "nonsense"), "--dataset nonsense: not a corpus"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_message(repository, arguments, message):
    done = repository.compare(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("revision", "remedy"), [("HEAD", "`dvc repro evaluate@demo`"), ("HEAD~1", "`git checkout HEAD~1 && dvc repro evaluate@demo`")]
)
def test_a_clone_without_the_predictions_is_told_the_command_that_makes_them(repository, tmp_path, revision, remedy):
    """Git brings dvc.lock and not the files behind it."""
    clone = copy.copy(repository)
    clone.folder = tmp_path / "clone"
    repository.run("git", "clone", "-q", ".", str(clone.folder))
    done = clone.compare(revision, "workspace")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"demo at {revision} is not on this machine" in done.stderr
    assert remedy in done.stderr
    assert len(done.stderr) < 700


def test_a_corpus_that_a_commit_records_and_its_datasets_leave_out_is_read_from_the_cache(tmp_path):
    """As the results of RAVDESS beside parameters that run the demo alone: DVC knows no stage of it there."""
    repository = Repository(tmp_path / "here")
    repository.repro(0.6)
    repository.commit()
    (repository.folder / "dvc.yaml").write_text("stages: {}\n")
    repository.commit()
    done = repository.compare("HEAD", "HEAD~1")
    assert done.returncode == 0, done.stderr
    assert "not distinguishable" in done.stdout
    for kept in (repository.folder / ".dvc/cache").rglob("*"):
        if kept.is_file():
            kept.chmod(0o644)
            kept.write_bytes(b"damaged")
    done = repository.compare("HEAD", "HEAD")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "demo at HEAD is not on this machine" in done.stderr


@pytest.mark.parametrize("spoilt", ["predictions", "clips"])
def test_a_damaged_object_of_the_cache_gives_no_score(tmp_path, spoilt):
    """DVC believes an object that is read-only. This one is of the same form, with other answers or labels."""
    repository = Repository(tmp_path / "here")
    repository.repro(1.2)
    repository.commit()
    wanted = {"predictions": "data/predictions/demo.csv", "clips": "data/clips/demo/clips.csv"}[spoilt]
    whole = (repository.folder / wanted).read_bytes()
    (kept,) = (path for path in (repository.folder / ".dvc/cache").rglob("*") if path.is_file() and path.read_bytes() == whole)
    lines = whole.splitlines(keepends=True)
    kept.chmod(0o644)
    kept.write_bytes(lines[0] + b"".join(reversed(lines[1:])))
    kept.chmod(0o444)
    done = repository.compare("HEAD", "HEAD")
    assert done.returncode == 1, done.stdout
    assert f"{wanted} at HEAD is damaged in DVC's cache or its remote" in done.stderr
    assert f"Remove {kept.relative_to(repository.folder / '.dvc/cache')} from .dvc/cache" in done.stderr
    assert "Traceback" not in done.stderr
    kept.unlink()  # as it says
    repository.run("dvc", "repro", "-q")
    assert repository.compare("HEAD", "HEAD").returncode == 0


def test_a_damaged_list_of_a_folder_gives_no_score(tmp_path):
    repository = Repository(tmp_path / "here")
    repository.repro(1.2)
    repository.commit()
    (listing,) = (repository.folder / ".dvc/cache").rglob("*.dir")
    listing.chmod(0o644)
    listing.write_text(listing.read_text() + " ")
    listing.chmod(0o444)
    done = repository.compare("HEAD", "HEAD")
    assert done.returncode == 1, done.stdout
    assert f"{listing.name}, is damaged: remove it" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("depended", [True, False])
def test_a_damaged_file_of_a_folder_in_the_remote_gives_no_score(tmp_path, depended):
    """In a fresh clone: the cache has no list of the folder, and DVC streams the file without looking at it."""
    repository = Repository(tmp_path / "here")
    if depended:  # as the split does, so that dvc.lock names the file's own hash
        pipeline = repository.folder / "dvc.yaml"
        pipeline.write_text(pipeline.read_text().replace("    - made.csv\n", "    - made.csv\n    - data/clips/demo/clips.csv\n"))
    repository.repro(1.2)
    repository.run("dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    repository.commit()
    repository.run("dvc", "push", "-q")
    whole = (repository.folder / "data/clips/demo/clips.csv").read_bytes()
    (kept,) = (path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.read_bytes() == whole)
    kept.chmod(0o644)
    kept.write_bytes(whole.replace(b",02,", b",01,"))  # fewer speakers: other intervals
    shutil.rmtree(repository.folder / ".dvc/cache")
    done = repository.compare("HEAD", "HEAD")
    assert done.returncode == 1, done.stdout
    says = "at HEAD is damaged in DVC's cache or its remote" if depended else "cannot be checked: the list of the files in data/clips/demo"
    assert f"data/clips/demo/clips.csv {says}" in done.stderr
    assert "Traceback" not in done.stderr
    kept.write_bytes(whole)
    repository.run("dvc", "fetch", "-q")  # as it says, where there is no list
    assert repository.compare("HEAD", "HEAD").returncode == 0


def test_a_remote_that_does_not_answer_is_named(monkeypatch):
    def asked(*_, **__):
        try:
            raise OSError('Could not connect to the endpoint URL: "http://127.0.0.1:9/"')
        except OSError as error:
            raise DvcException("failed to open") from error

    monkeypatch.setattr("dvc.api.read", asked)
    monkeypatch.setattr(compare, "_lock", lambda revision: "    - path: data/predictions/demo.csv\n")
    monkeypatch.setattr(compare, "_in_cache", lambda path, lock: None)
    with pytest.raises(SerError, match=r"is not on this machine: .* nor a remote gave it \(Could not connect to the endpoint URL"):
        compare._text(Paths("demo").predictions, "demo", "HEAD")


@pytest.mark.parametrize("place", ["clips", "predictions"])
def test_a_pipe_in_the_workspace_is_not_waited_for(tmp_path, monkeypatch, place):
    path = Paths("demo").clips / "clips.csv" if place == "clips" else Paths("demo").predictions
    monkeypatch.chdir(tmp_path)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(SerError, match=r"is not in the workspace \(.*no regular file"):
        compare._text(path, "demo", "workspace")
