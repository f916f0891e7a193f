"""The trials of a search on disk, for several processes and any number of interruptions.

A search is a folder: its trials in an SQLite file, and a folder for each trial under way with a lock, checkpoints and the log. The lock
of a trial is the system's and ends with its process, however that dies; whoever finds it free goes on with the trial.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from ser import SerError
from ser.search.space import Axis

BEFORE_PRUNING = 5
"""Trials that are finished in full before a bad one is given up."""
BEFORE_IMPORTANCE = 20


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        number: of the trial, from 0.
        state: ``finished``; ``pruned``: given up after a fold, for less than the median of the others; ``refused``: these values cannot be
            trained together; ``running``, also if its process has died.
        ua: mean validation UA over the folds that were trained, 0–1, or None.
        fold_ua: the same for each fold.
        chosen: the value of each searched key.
        note: why it was refused, or which earlier trial had the same values.
    """

    number: int
    state: str
    ua: float | None
    fold_ua: dict[int, float]
    chosen: dict[str, Any]
    note: str


def begin(folder: Path, identity: dict[str, Any], space: list[Axis], now: dict[str, Any]) -> optuna.Study:
    """Open a search, or begin it; its first trial has the values of now, if they lie in the space.

    Args:
        folder: where it lives.
        identity: all that a score depends on, by names that a user knows.
        space: the searched keys.
        now: their values in params.yaml.

    Raises:
        SerError: if the folder holds a search about something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        study = _open(folder)
        known = study.user_attrs.get("identity")
        if known is None:
            if all(axis.holds(now[axis.key]) for axis in space):
                study.enqueue_trial({axis.key: _stored(axis, now[axis.key]) for axis in space}, skip_if_exists=True)
            study.set_user_attr("identity", identity)
        elif different := [name for name in identity if known.get(name) != identity[name]]:
            raise SerError(
                f"the search {folder.name!r} was begun with other {', '.join(different)}: its scores and new ones do not compare. "
                f"Choose another --name, put back what was changed, or remove {folder}"
            )
    return study


def find(folder: Path) -> optuna.Study:
    """Open a search to look at it.

    Raises:
        SerError: if there is none in the folder.
    """
    if not (folder / "study.sqlite").exists():
        others = sorted(path.parent.name for path in folder.parent.glob("*/study.sqlite"))
        raise SerError(f"no search {folder.name!r} in {folder.parent}; there are: {', '.join(others) or 'none'}")
    return _open(folder)


def take(folder: Path, study: optuna.Study, space: list[Axis], seed: int, trials: int) -> tuple[optuna.Trial, IO[str]] | None:
    """The next trial to work on with its values drawn, and its lock: one whose process died, else a new one; None if there are enough.

    Trial n depends on ``seed``, on n and on the trials finished before, not on who makes it or how often the search was interrupted.

    Args:
        folder: of the search.
        study: of the search.
        space: the searched keys.
        seed: of the draws.
        trials: the number of trials that is enough, with those of other processes.
    """
    with _locked(folder):
        known = study.get_trials(deepcopy=False)
        for frozen in known:
            if frozen.state == TrialState.RUNNING and (lock := _try_lock(folder, frozen.number)):
                if study.trials[frozen.number].state == TrialState.RUNNING:
                    study.sampler = _sampler(seed, frozen.number)
                    trial = optuna.Trial(study, frozen._trial_id)  # Optuna has no public way to go on with a trial
                    return _drawn(trial, space), lock
                lock.close()  # its process finished it just now
        begun = sum(frozen.state != TrialState.WAITING for frozen in known)
        if begun >= trials:
            return None
        study.sampler = _sampler(seed, begun)
        trial = study.ask()
        own = _try_lock(folder, trial.number)
        assert own is not None, "a number is given once"
        return _drawn(trial, space), own


def trial_folder(folder: Path, number: int) -> Path:
    """Where a trial under way keeps its lock, checkpoints and log."""
    return folder / f"trial{number}"


def below_median(study: optuna.Study, step: int, mean: float) -> bool:
    """Whether a trial's mean UA over its first ``step`` folds is less than the median of what the finished trials had there.

    Optuna's MedianPruner would take the best of the trial's means so far: after a good first fold it gives up none.
    """
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return len(finished) >= BEFORE_PRUNING and mean < statistics.median(trial.intermediate_values[step] for trial in finished)


def clear(folder: Path, number: int) -> None:
    """Remove the folder of a trial that the study knows to be over; its lock must be held."""
    shutil.rmtree(trial_folder(folder, number), ignore_errors=True)


def outcome(trial: FrozenTrial) -> Outcome:
    """A trial in our own words."""
    facts = trial.user_attrs
    names = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "refused" if facts.get("refused") else "pruned"}
    fold_ua = {int(fold): ua for fold, ua in facts.get("ua", {}).items()}
    ua = sum(fold_ua.values()) / len(fold_ua) if fold_ua else None
    return Outcome(trial.number, names.get(trial.state, "running"), ua, fold_ua, facts.get("chosen", {}), facts.get("note", ""))


def outcomes(study: optuna.Study) -> list[Outcome]:
    """All trials of a search, best first: finished ones by UA, then pruned ones by UA, then the rest by number."""
    found = [outcome(trial) for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    rank = {"finished": 0, "pruned": 1}
    return sorted(found, key=lambda one: (rank.get(one.state, 2), -(one.ua or 0.0), one.number))


def importances(study: optuna.Study) -> dict[str, float]:
    """Share of each searched key in what sets the best tenth of the trials apart (PED-ANOVA, Watanabe et al. 2023), greatest first.

    Empty with fewer than 20 finished trials, a single key, or a single score: then it would say nothing.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < BEFORE_IMPORTANCE or len(done[0].params) < 2 or len({trial.value for trial in done}) < 2:
        return {}
    return optuna.importance.get_param_importances(study)


def _open(folder: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # a write waits for those of other processes; SQLite's own limit of 5 s is short on a busy disk
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.sqlite'}", engine_kwargs={"connect_args": {"timeout": 120}})
    return optuna.create_study(storage=storage, study_name="search", direction="maximize", load_if_exists=True)


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """A sampler for each trial, since the state of a single one would be lost in an interruption."""
    key = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=key, multivariate=True, constant_liar=True)


def _drawn(trial: optuna.Trial, space: list[Axis]) -> optuna.Trial:
    """Draw what is not drawn yet, and note it as values of params.yaml."""
    chosen = {}
    for axis in space:
        if axis.kind == "choose":
            chosen[axis.key] = json.loads(trial.suggest_categorical(axis.key, [json.dumps(value) for value in axis.values]))
        elif axis.kind == "int":
            chosen[axis.key] = trial.suggest_int(axis.key, *axis.values)
        else:
            chosen[axis.key] = axis.rounded(trial.suggest_float(axis.key, *axis.values, log=axis.kind == "log"))
    trial.set_user_attr("chosen", chosen)
    return trial


def _stored(axis: Axis, value: Any) -> Any:
    """A value as Optuna keeps it: choices as JSON, since it knows no lists."""
    return json.dumps(value) if axis.kind == "choose" else value


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time begins a search or takes a trial."""
    with open(folder / "lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _try_lock(folder: Path, number: int) -> IO[str] | None:
    """The lock of a trial, or None while its process lives."""
    path = trial_folder(folder, number) / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as opened:
        stream = opened.enter_context(open(path, "w"))
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        opened.pop_all()
        return stream
