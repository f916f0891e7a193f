"""The share of the torture that every run of the tests takes, and that the torture itself would see what is wrong."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.torture import attacks, child, damaged, ground
from tests.torture.__main__ import tortured
from tests.torture.attack import Finding, Trial, in_lanes, random_of

SEED = 0

pytestmark = pytest.mark.slow  # of `make test-slow`: its whole is `make torture`


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> ground.Ground:
    return ground.make(tmp_path_factory.mktemp("torture"))


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_a_share_of_each_attack_finds_nothing(undisturbed, name):
    found = tortured(name, undisturbed, SEED, "ci", lanes=1)
    assert found.trials > 0
    assert [f"{finding.kind}: {finding.what}; {found.again(label)}" for label, finding in found.findings] == []


def test_labels_name_one_trial_each_and_stay_the_same(undisturbed):
    for name, trials in attacks.ATTACKS.items():
        share = "ci" if name == "params" else "whole"  # all of its values are checked before they are listed
        labels = [trial.label for trial in trials(undisturbed, SEED, share)]
        assert len(set(labels)) == len(labels), name
        assert labels == [trial.label for trial in trials(undisturbed, SEED, share)], name


def test_all_files_of_all_stages_are_damaged(undisturbed):
    """Each output that another stage depends on; the page is read by people alone, and so are the plots of DVC beside it."""
    labels = " ".join(trial.label for trial in damaged.trials(undisturbed, SEED, "whole"))
    for stage in ground.STAGES[:-2]:
        for name in undisturbed.files[stage]:
            assert f"reads {name}," in labels or name.startswith(("data/predictions", "data/sums")), name


@pytest.mark.parametrize("how", damaged.HOWS)
@pytest.mark.parametrize("data", [b"", b"x", b"a\nb\n", bytes(range(256)) * 20])
def test_damage_is_the_same_for_the_same_seed_and_of_bounded_size(how, data):
    one, other = (damaged.damage(data, how, random_of(3, how)) for _ in range(2))
    assert one == other
    assert len(one) <= len(data) + 4096


# what the torture must see


def in_child(call, tmp_path: Path, seconds: float = 30) -> child.Ended:
    return child.run(call, tmp_path, {"SEEN": "1"}, seconds)


def test_a_child_has_its_own_folder_environment_and_status(tmp_path):
    def call() -> None:
        print(Path.cwd(), os.environ["SEEN"])
        sys.exit("error: in words")

    ended = in_child(call, tmp_path)
    assert (ended.code, ended.hung, ended.traced) == (1, False, False)
    assert ended.said == f"{tmp_path} 1\nerror: in words\n"
    assert "SEEN" not in os.environ


def test_a_traceback_and_a_crash_are_seen(tmp_path):
    assert in_child(lambda: [][1], tmp_path).traced
    assert in_child(lambda: os.kill(os.getpid(), signal.SIGSEGV), tmp_path).traced


def test_a_hang_is_seen_and_ended(tmp_path):
    assert in_child(lambda: time.sleep(600), tmp_path, 0.1).hung


def test_what_outlives_a_child_is_seen_and_ended(tmp_path):
    def call() -> None:
        if os.fork() == 0:
            time.sleep(600)

    running = child.start(call, tmp_path, {})
    assert running.wait(30).code == 0
    assert len(child.orphans(running.pid, 0.1)) == 1
    time.sleep(0.1)
    assert child.orphans(running.pid, 0.1) == []


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_every_trial_runs_once_in_an_empty_folder_whatever_happens_to_others(tmp_path, lanes):
    def fails(folder: Path) -> tuple[list[Finding], Counter[str]]:
        assert not list(folder.iterdir())
        raise ValueError("of the trial")

    def works(folder: Path) -> tuple[list[Finding], Counter[str]]:
        (folder / "left").touch()
        return [Finding("loss", "x" * 10_000)], Counter(seen=1)

    trials = [Trial(str(number), fails if number == 1 else works) for number in range(4)]
    found = {trial.label: (findings, outcomes) for trial, findings, outcomes in in_lanes(trials, lanes, tmp_path)}
    assert sorted(found) == ["0", "1", "2", "3"]
    assert found["0"] == ([Finding("loss", "x" * 10_000)], Counter(seen=1))
    assert "ValueError: of the trial" in found["1"][0][0].what
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_missing_and_other_bytes_are_seen(undisturbed, tmp_path):
    place = undisturbed.lay(tmp_path, "end")
    expected = undisturbed.until("report")
    assert ground.differing(place.work, expected) == []
    assert place.left(expected) == []
    (place.work / "models/demo/history.csv").unlink()
    (place.work / "data/folds/demo.json").write_text("{}")
    (place.work / "data/.demo.partial").touch()
    (place.tmp / "tmp1").touch()
    assert ground.differing(place.work, expected) == ["data/folds/demo.json (other bytes)", "models/demo/history.csv (missing)"]
    assert place.left(expected) == ["data/.demo.partial", "TMPDIR/tmp1"]
