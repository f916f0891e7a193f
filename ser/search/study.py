"""The trials of a search on disk, for several processes and any number of interruptions.

A search is a folder: an SQLite file of its trials, and a folder per running trial with a lock, checkpoints
and a log. The operating system holds the lock and releases it when the process ends for any reason. A process that
gets a free lock resumes the trial.
"""

from __future__ import annotations

import json
import logging
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ser import SerError
from ser.runtime.locks import alone, lock_if_free
from ser.search.space import Axis

BEFORE_PRUNING = 5
"""Trials that must be finished in full before a bad one is pruned."""
BEFORE_IMPORTANCE = 20
"""Trials that must be finished in full before importances mean anything."""


@dataclass(frozen=True)
class Outcome:
    """State and score of a trial.

    Attributes:
        number: number of the trial, from 0.
        state: ``finished``; ``pruned``: stopped after a fold, below the median of the others; ``refused``:
            its values do not go together; ``running``, also if its process has died.
        ua: mean validation UA over the folds that were trained, 0–1, or None.
        fold_ua: validation UA of each fold, 0–1.
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
    """Open a search, or begin it. Its first trial has the values of params.yaml, if they lie in the space.

    Args:
        folder: folder of the search.
        identity: everything that a score depends on, by names that a user knows.
        space: the searched keys.
        now: their values in params.yaml.

    Raises:
        SerError: if the folder holds a search with another identity.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / "study"):
        study = _open(folder)
        known = study.user_attrs.get("identity")
        if known is None:
            if all(axis.holds(now[axis.key]) for axis in space):
                study.enqueue_trial({axis.key: _stored(axis, now[axis.key]) for axis in space}, skip_if_exists=True)
            study.set_user_attr("identity", identity)
        elif different := [name for name in identity if known.get(name) != identity[name]]:
            raise SerError(
                f"the search {folder.name!r} was begun with other {', '.join(different)}: its scores and new ones do not compare. "
                f"Choose another --name, undo the change, or remove {folder}"
            )
    return study


@contextmanager
def named(folder: Path) -> Iterator[None]:
    """Name the search in errors of its database.

    Raises:
        SerError: if the database is damaged, or cannot be read or written.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        said = str(getattr(error.__cause__ or error, "orig", None) or error).splitlines()[0]
        raise SerError(f"{folder / 'study.sqlite'} is damaged, or cannot be used: {said}; remove {folder} to begin anew") from None


def find(folder: Path) -> optuna.Study:
    """Open a search to read it.

    Raises:
        SerError: if the folder holds no search.
    """
    if not (folder / "study.sqlite").exists():
        others = sorted(path.parent.name for path in folder.parent.glob("*/study.sqlite"))
        raise SerError(f"no search {folder.name!r} in {folder.parent}; there are: {', '.join(others) or 'none'}")
    return _open(folder)


def take(folder: Path, study: optuna.Study, space: list[Axis], seed: int, trials: int) -> tuple[optuna.Trial, IO[str]] | None:
    """The next trial to train, with its values drawn, and its lock; None if the search has enough trials.

    A trial whose process died comes first, else a new one. Trial n depends on ``seed``, on n and on the
    trials finished before. It does not depend on the process that trains it, nor on interruptions.

    Args:
        folder: folder of the search.
        study: the search, as ``begin`` opened it.
        space: the searched keys.
        seed: seed of the draws.
        trials: number of trials that the search needs, including those of other processes.
    """
    with alone(folder / "study"):
        known = study.get_trials(deepcopy=False)
        for frozen in known:
            if frozen.state == TrialState.RUNNING and (lock := _try_lock(folder, frozen.number)):
                if study.trials[frozen.number].state == TrialState.RUNNING:
                    study.sampler = _sampler(seed, frozen.number)
                    trial = optuna.Trial(study, frozen._trial_id)  # Optuna has no public way to resume a trial
                    return _drawn(trial, space), lock
                lock.close()  # its process has just finished it
        begun = sum(frozen.state != TrialState.WAITING for frozen in known)
        if begun >= trials:
            return None
        study.sampler = _sampler(seed, begun)
        trial = study.ask()
        own = _try_lock(folder, trial.number)
        assert own is not None, "a number is given once"
        return _drawn(trial, space), own


def trial_folder(folder: Path, number: int) -> Path:
    """Folder of a running trial: its lock, checkpoints and log."""
    return folder / f"trial{number}"


def below_median(study: optuna.Study, step: int, mean: float) -> bool:
    """Whether a trial's mean UA over its first ``step`` folds is below the finished trials' median there.

    Optuna's MedianPruner compares the best of the trial's means so far, so it prunes nothing after a good
    first fold.
    """
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return len(finished) >= BEFORE_PRUNING and mean < statistics.median(trial.intermediate_values[step] for trial in finished)


def clear(folder: Path, number: int) -> None:
    """Remove the folder of a trial that has ended in the study. The caller holds its lock."""
    shutil.rmtree(trial_folder(folder, number), ignore_errors=True)


def outcome(trial: FrozenTrial) -> Outcome:
    """Optuna's trial as an ``Outcome``."""
    facts = trial.user_attrs
    names = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "refused" if facts.get("refused") else "pruned"}
    fold_ua = {int(fold): ua for fold, ua in facts.get("ua", {}).items()}
    ua = sum(fold_ua.values()) / len(fold_ua) if fold_ua else None
    return Outcome(trial.number, names.get(trial.state, "running"), ua, fold_ua, facts.get("chosen", {}), facts.get("note", ""))


def outcomes(study: optuna.Study) -> list[Outcome]:
    """All trials of a search, best first: finished by UA, then pruned by UA, then the rest by number."""
    known = [outcome(trial) for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    rank = {"finished": 0, "pruned": 1}
    return sorted(known, key=lambda one: (rank.get(one.state, 2), -(one.ua or 0.0), one.number))


def importances(study: optuna.Study) -> dict[str, float]:
    """Share of each searched key in what distinguishes the best tenth of the trials, largest first.

    The shares sum to 1 (PED-ANOVA, Watanabe et al. 2023). Empty with fewer than ``BEFORE_IMPORTANCE``
    finished trials, a single key, or a single score, where a share has no meaning.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < BEFORE_IMPORTANCE or len(done[0].params) < 2 or len({trial.value for trial in done}) < 2:
        return {}
    return optuna.importance.get_param_importances(study)


def _open(folder: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # a write waits for writes of other processes; SQLite's default limit of 5 s is too short on a busy disk
    file = folder / "study.sqlite"
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{file}", engine_kwargs={"connect_args": {"timeout": 120}})
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise SerError(
            f"{file} is of another version of optuna than the installed {optuna.__version__} ({said}): install that one, or remove {folder}"
        ) from None
    study = optuna.create_study(storage=storage, study_name="search", direction="maximize", load_if_exists=True)
    try:
        known = [(trial, outcome(trial)) for trial in study.get_trials(deepcopy=False)]
        identified = isinstance(study.user_attrs.get("identity", {}), dict)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SerError(f"{file} is damaged ({type(error).__name__}: {error}); remove {folder} to begin anew") from None
    if not identified or any(trial.state == TrialState.COMPLETE and (trial.value is None or one.ua is None) for trial, one in known):
        raise SerError(f"{file} is damaged: scores or names are missing; remove {folder} to begin anew")
    return study


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """A sampler for one trial. The state of a shared one would be lost in an interruption."""
    key = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=key, multivariate=True, constant_liar=True)


def _drawn(trial: optuna.Trial, space: list[Axis]) -> optuna.Trial:
    """Draw the values that are not drawn yet, and store them as values of params.yaml."""
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
    """A value as Optuna stores it: choices as JSON, because Optuna has no lists."""
    return json.dumps(value) if axis.kind == "choose" else value


def _try_lock(folder: Path, number: int) -> IO[str] | None:
    """The lock of a trial, or None while its process lives."""
    own = trial_folder(folder, number)
    own.mkdir(parents=True, exist_ok=True)
    return lock_if_free(own / "trial")
