"""Trials of parameters: the training of the pipeline, scored on validation clips only.

A trial's score is the UA of its networks on the validation clips, averaged over folds and seeds. Test clips
are never used. One network is trained at a time; other cores are for other processes of the same search.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from optuna import Study, Trial
from optuna.trial import FrozenTrial, TrialState

from ser import SerError
from ser.encoders import store
from ser.params import Params, parse
from ser.params.runtime import Runtime
from ser.search import study as stored
from ser.search.space import Axis, at, put
from ser.search.study import Outcome
from ser.signal.clips import read_table
from ser.splits.assignment import read as read_assignment
from ser.training import checkpoint, inference, jobs
from ser.training.device import set_up
from ser.training.inference import Trained


@dataclass(frozen=True)
class Search:
    """Inputs and settings of a search.

    Attributes:
        folder: folder of the search; its last part is the search's name.
        corpus: name of the corpus.
        features, clips, assignment: outputs of the stages before training: two folders and the CSV of folds.
        params: the parameters of all keys that are not searched.
        space: the searched keys.
        folds: folds to train and validate on, in this order.
        seed: seed of the draws.
        encoded: folder of hidden states; opened only for trials whose model reads them.
    """

    folder: Path
    corpus: str
    features: Path
    clips: Path
    assignment: Path
    params: Params
    space: list[Axis]
    folds: list[int]
    seed: int
    encoded: Path | None = None


def folds_there_are(assignment: Path) -> list[int]:
    """Numbers of the folds in a folds CSV."""
    return sorted(int(number) for number in read_assignment(assignment)["fold"].unique())


def validated_test_share(assignment: Path, folds: list[int]) -> float:
    """Share of the validation clips of ``folds`` that are test clips of another fold of the corpus, 0–1.

    Above 0, a score over all folds with the chosen values is slightly too good: the choice has seen some of
        its labels.
    """
    table = read_assignment(assignment)
    valid = table.loc[(table["part"] == "valid") & table["fold"].isin(folds), "clip"]
    return float(valid.isin(table.loc[table["part"] == "test", "clip"]).mean()) if len(valid) else 0.0


def begin(search: Search) -> Study:
    """Open a search, or begin it.

    Raises:
        SerError: if the folder holds a search with another identity.
    """
    values = search.params.model_dump()
    return stored.begin(search.folder, _identity(search), search.space, {axis.key: at(values, axis.key) for axis in search.space})


def run(search: Search, study: Study, trials: int, started: Callable[[int, str], None], finished: Callable[[Outcome], None]) -> None:
    """Train trials until the search has ``trials`` of them, counting those of other processes.

    Args:
        search: its inputs and settings.
        study: its trials, as ``begin`` opened them.
        trials: total number of trials, including those it already has.
        started: called with the number of a trial and its current step.
        finished: called with every outcome of this process.

    Raises:
        SerError: if a training fails for another reason than its values; a later call resumes the trial.
    """
    while taken := stored.take(search.folder, study, search.space, search.seed, trials):
        trial, lock = taken
        with lock:
            try:
                _try(study, search, trial, started)
            except (SerError, torch.OutOfMemoryError) as error:
                raise SerError(
                    f"trial {trial.number} stopped the search: {error}\nThe same command resumes it. If its values need more than this "
                    f"machine has, begin another search (--name) without them: {json.dumps(trial.user_attrs['chosen'])}"
                ) from error
            stored.clear(search.folder, trial.number)
        finished(stored.outcome(study.trials[trial.number]))


def _try(study: Study, search: Search, trial: Trial, started: Callable[[int, str], None]) -> None:
    """Train one fold after the other, and report the scores to the study."""
    chosen = trial.user_attrs["chosen"]
    try:
        trained = _planned(search, chosen)
    except SerError as error:
        trial.set_user_attr("refused", True)
        trial.set_user_attr("note", " ".join(str(error).split()))
        study.tell(trial, state=TrialState.PRUNED)  # without a value the sampler ranks it worst and avoids it
        return
    twin = _twin(study, trial.number, chosen)
    if twin is not None:  # training would give the same bytes
        trial.set_user_attr("note", f"same values as trial {twin.number}")
    fold_ua = dict((trial if twin is None else twin).user_attrs.get("ua", {}))
    reported = study.trials[trial.number].intermediate_values
    mean = 0.0
    for step, fold in enumerate(search.folds, start=1):
        if str(fold) not in fold_ua:
            started(trial.number, f"fold {fold}, {step} of {len(search.folds)}")
            fold_ua[str(fold)] = _fold_ua(search, trained, fold, stored.trial_folder(search.folder, trial.number))
        trial.set_user_attr("ua", fold_ua)
        mean = sum(fold_ua[str(number)] for number in search.folds[:step]) / step
        if step not in reported:
            trial.report(mean, step)
        given_up = stored.below_median(study, step, mean) if twin is None else twin.state == TrialState.PRUNED
        if step == len(fold_ua) < len(search.folds) and given_up:
            study.tell(trial, state=TrialState.PRUNED)
            return
    study.tell(trial, mean)


def _planned(search: Search, chosen: dict[str, Any]) -> Trained:
    """The training of a trial.

    Raises:
        SerError: if its values do not go together, on any machine.
    """
    params = parse(put(search.params.model_dump(), chosen), "this trial")
    encoder = store.about(search.encoded, params.features.encoder) if params.trains_on_states else None
    trained = Trained.planned(search.corpus, read_table(search.clips), search.folds, params, {}, encoder)
    if trained.model.kind == "network":
        with torch.device("meta"):  # shapes only: no memory, no random draws
            inference.new_network(trained)
    return trained


def _twin(study: Study, number: int, chosen: dict[str, Any]) -> FrozenTrial | None:
    """A scored trial with the same values, or None."""
    judged = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    same = (trial for trial in judged if trial.user_attrs.get("chosen") == chosen and not trial.user_attrs.get("refused"))
    return next((trial for trial in same if trial.number != number), None)


def _fold_ua(search: Search, trained: Trained, fold: int, folder: Path) -> float:
    """Validation UA of the weights that are kept, averaged over seeds, 0–1.

    The epochs of each training are in ``fold<k>-seed<s>.log`` in the trial's folder.
    """
    scores = []
    for seed in trained.seeds:
        weights = folder / f"fold{fold}-seed{seed}.safetensors"
        files = weights.with_suffix(".checkpoint"), weights, search.encoded
        job = jobs.Job(search.features, search.clips, search.assignment, trained, fold, seed, *files)
        ua = [row["valid_ua"] for row in jobs.train([job], _runtime(search.params), weights.with_suffix(".log"), shown=False)]
        scores.append(max(ua) if trained.train.keep == "best" else ua[-1])
    return float(sum(scores) / len(scores))


def _runtime(params: Params) -> Runtime:
    """Use one device per network with ``devices: auto``: more devices are better used by other trials."""
    return params.runtime.model_copy(update={"devices": 1}) if params.runtime.devices == "auto" else params.runtime


def _identity(search: Search) -> dict[str, Any]:
    """Everything that a score depends on, by names that a user knows.

    The values of searched keys in params.yaml are left out: a trial replaces them.
    """
    base = put(search.params.model_dump(), {axis.key: None for axis in search.space})
    settings = [*(base[section] for section in ("preprocess", "features", "model", "train")), base["corpora"][search.corpus]["labels"]]
    encoded = search.encoded if search.params.features.encoder is not None else None
    inputs = jobs.inputs(search.features, search.clips, search.assignment, search.params.features, encoded)
    runtime = _runtime(search.params)
    device = set_up(runtime)
    return {
        "corpus": search.corpus,
        "search space": [[axis.key, axis.kind, json.dumps(axis.values)] for axis in search.space],
        "folds": search.folds,
        "seed": search.seed,
        "parameters": checkpoint.fingerprint(settings, []),
        "features or folds": checkpoint.fingerprint([], inputs),
        "code": checkpoint.fingerprint([], jobs.code()),
        "torch": torch.__version__,
        "device or threads": [device.type, torch.get_num_threads(), jobs.together(1, device, runtime)],
    }
