"""What the machine and the environment say of how it runs."""

from __future__ import annotations

import os

import pytest

from ser import SerError, params
from ser.runtime import machine
from tests import made

VARIABLES = ("SER_WORKERS", "SER_THREADS", "SER_DEVICES")


@pytest.fixture(autouse=True)
def _nothing_asked(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def section(**changes):
    return made.params(**{f"runtime__{key}": value for key, value in changes.items()}).runtime


def test_one_worker_for_each_core_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 6}, raising=False)
    assert machine.workers(section()) == 3


@pytest.mark.parametrize(("cores", "expected"), [(10, 10), (None, 1)])
def test_without_affinity_as_on_macos_all_cores_count(monkeypatch, cores, expected):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert machine.workers(section()) == expected


@pytest.mark.parametrize(
    ("asked", "trainings", "there", "expected"),
    [
        ("auto", 6, 1, 1), ("auto", 6, 4, 1), ("auto", 6, 8, 1), ("auto", 3, 8, 2), ("auto", 1, 8, 8), (1, 1, 8, 1), (4, 6, 8, 4),
    ],
)  # fmt: skip
def test_devices_beyond_the_number_of_trainings_share_one(asked, trainings, there, expected):
    assert machine.devices(section(devices=asked), trainings, there) == expected


def test_the_environment_wins(monkeypatch):
    asked = section(workers=4, threads=4, devices=4)
    for name in VARIABLES:
        monkeypatch.setenv(name, "2")
    assert machine.workers(asked) == machine.threads(asked) == machine.devices(asked, 1, 1) == 2
    for name in VARIABLES:
        monkeypatch.setenv(name, "auto")
    assert machine.threads(asked) == machine.devices(asked, 6, 1) == 1


@pytest.mark.parametrize("said", ["0", "-1", "two", "1.5", "4097", "9" * 20, "1" * 5000])
def test_an_environment_that_says_no_number_is_refused(monkeypatch, said):
    for name in VARIABLES:
        monkeypatch.setenv(name, said)
    for ask in (lambda: machine.workers(section()), lambda: machine.threads(section()), lambda: machine.devices(section(), 1, 1)):
        with pytest.raises(SerError, match=rf"SER_[A-Z]+ is '{said[:39]}…?'; allowed: auto or a whole number from 1 to 4096"):
            ask()


@pytest.mark.parametrize("key", ["workers", "threads", "devices"])
@pytest.mark.parametrize("value", [0, -1, "two"])
def test_params_that_say_no_number_are_refused(key, value):
    with pytest.raises(params.ParamsError, match=rf"runtime\.{key}: .*a whole number, ≥ 1, ≤ [0-9]+ or auto"):
        section(**{key: value})


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"WORLD_SIZE": ""}, False),
        ({"WORLD_SIZE": "2"}, False),
        ({"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, False),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, True),
    ],
)
def test_several_ranks_are_told_by_a_launchers_variables(monkeypatch, variables, expected):
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert machine.launched() is expected


@pytest.mark.parametrize("said", ["abc", "-1", "1.5", "²", "9" * 5000])
def test_a_launchers_variable_that_is_no_number_is_one_message(monkeypatch, said):
    monkeypatch.setenv("WORLD_SIZE", said)
    with pytest.raises(SerError, match=r"^WORLD_SIZE is '.{1,41}', which is no number of a launcher"):
        machine.launched()
