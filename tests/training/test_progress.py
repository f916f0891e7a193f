"""How far a training is: from lines of the log to the bar and the time left, and one bar in a real training."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ser.training import jobs
from ser.training.progress import Progress, tell
from tests.training.test_jobs import planned, runtime


class Clock:
    """Seconds, moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def progress(folder: Path, clock: Clock, networks: int = 3, at_once: int = 2, **changes: object) -> Progress:
    return Progress(folder / "log", [(fold, 0) for fold in range(1, networks + 1)], 10, at_once, "train demo", clock=clock, **changes)


def begins(fold: int) -> str:
    return f"fold {fold} seed 0: begins with 9 clips, 3 for validation"


def epoch(fold: int, number: int) -> str:
    return f"fold {fold} seed 0 epoch {number:>3}/10  loss 1.0  valid 0.9  valid UA 0.500  7 clips/s"


def test_time_left_counts_the_networks_that_wait_for_a_place(tmp_path, clock):
    with progress(tmp_path, clock) as bar:
        bar.say(begins(1))
        bar.say(begins(2))
        assert bar.left() is None, "nothing is known yet"
        clock.now += 2
        bar.say(epoch(1, 1))
        bar.say(epoch(2, 1))
        assert bar.left() == pytest.approx(2 * 9 + 2 * 10), "the third network begins when one of the first two has ended"
        clock.now += 1
        bar.look()
        assert bar.left() == pytest.approx(2 * 9 + 2 * 10 - 1)


def test_time_left_of_one_after_the_other_is_that_of_all(tmp_path, clock):
    with progress(tmp_path, clock, networks=4, at_once=1) as bar:
        bar.say(begins(1))
        for number in (1, 2, 3):
            clock.now += 5
            bar.say(epoch(1, number))
        assert bar.left() == pytest.approx(5 * (7 + 30))


def test_epochs_of_an_earlier_run_count_as_finished_but_not_as_fast(tmp_path, clock, capsys):
    with progress(tmp_path, clock, networks=1) as bar:
        bar.say(begins(1))
        bar.say("fold 1 seed 0: resumes after epoch 8 of 10")
        clock.now += 3
        bar.say(epoch(1, 9))
        assert bar.left() == pytest.approx(3)
    assert "9/10 epochs" in capsys.readouterr().err


def test_a_network_that_stops_early_is_not_waited_for(tmp_path, clock, capsys):
    with progress(tmp_path, clock, networks=2, early=True) as bar:
        for fold in (1, 2):
            bar.say(begins(fold))
        clock.now += 1
        for fold in (1, 2):
            bar.say(epoch(fold, 1))
        bar.ended((1, 0))
        assert bar.left() == pytest.approx(9)
        clock.now += 9
        for number in range(2, 11):
            bar.say(epoch(2, number))
        bar.ended((2, 0))
        assert bar.left() == 0
    last = capsys.readouterr().err.split("\r")[-1]
    assert "100%" in last
    assert "11/11 epochs" in last
    assert "left" not in last


@pytest.mark.parametrize(
    "line",
    ["", "fold 9 seed 0 epoch   3/10  of another training", "a warning", "fold 1 seed 0: starts from a regression, valid UA 0.5", "fold 1"],
)
def test_other_lines_move_nothing(tmp_path, clock, capsys, line):
    with progress(tmp_path, clock) as bar:
        bar.say(line)
        assert bar.left() is None
    assert "0/30 epochs" in capsys.readouterr().err


def test_a_line_that_is_not_whole_waits(tmp_path, clock, capsys):
    with progress(tmp_path, clock) as bar:
        with open(tmp_path / "log", "a") as log:
            log.write(epoch(1, 1) + "\n" + epoch(1, 10)[:25])
        bar.look()
        tell(tmp_path / "log", epoch(1, 10)[25:])
        bar.look()
    shown = capsys.readouterr().err
    assert "10/30 epochs" in shown.split("\r")[-1]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_training_has_one_bar_to_its_end_and_a_line_per_epoch_in_the_log(tmp_path, monkeypatch, capfd, workers):
    for name in ("SER_WORKERS", "SER_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    log = tmp_path / "logs/log"
    log.parent.mkdir()
    log.write_text("fold 1 seed 0 epoch   2/2  of an earlier training\n")
    jobs.train(planned(tmp_path), runtime(workers), log)
    said = capfd.readouterr()
    assert said.out == ""
    bars = re.findall(r"train made: +(\d+)%\|[^|]*\| (\d+)/6 epochs", said.err)
    assert bars[0] == ("0", "0")
    assert bars[-1] == ("100", "6")
    assert said.err.count("\n") == 1, "one bar"
    lines = log.read_text().splitlines()
    assert sorted(line[:23] for line in lines if " epoch " in line) == [
        f"fold {fold} seed 0 epoch   {number}" for fold in (1, 2, 3) for number in (1, 2)
    ]
    assert sum("begins" in line for line in lines) == 3


def test_a_training_without_a_bar_says_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("SER_WORKERS", raising=False)
    jobs.train(planned(tmp_path, folds=(1,)), runtime(1), tmp_path / "log", shown=False)
    assert capfd.readouterr() == ("", "")
    assert "epoch   2/2" in (tmp_path / "log").read_text()
