"""Two runs side by side: identical trainings, two corpora, trainings that differ in evaluation only, and pairs that DVC itself runs."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.torture import child, project
from tests.torture.attack import Finding, Share, Trial, ended_of, random_of
from tests.torture.child import Ended
from tests.torture.ground import SECONDS, Ground, Place, differing, hashes, set_params

TRAININGS = {"ci": 1, "whole": 60}
CORPORA = {"ci": 1, "whole": 26}
EVALUATIONS = {"ci": 0, "whole": 14}
EXPERIMENTS = {"ci": 0, "whole": 2}

Found = tuple[list[Finding], Counter[str]]


def trials(ground: Ground, seed: int, share: Share) -> list[Trial]:
    """All trials of a share."""
    kinds: tuple[tuple[str, int, Callable[..., Found]], ...] = (
        ("identical trainings", TRAININGS[share], _trainings),
        ("two corpora", CORPORA[share], _corpora),
        ("trainings of two evaluations", EVALUATIONS[share], _evaluations),
        ("two exp run --temp", EXPERIMENTS[share], _temporary),
        ("queue -j 2", EXPERIMENTS[share], _queued),
    )
    return [Trial(f"{kind} {number}", partial(run, ground, seed, number)) for kind, count, run in kinds for number in range(count)]


def _trainings(ground: Ground, seed: int, number: int, folder: Path) -> Found:
    """In two folders with one cache, as two experiments in temporary copies; the second begins somewhere within the first."""
    one, other = _two(ground, folder, "train")
    later = random_of(seed, "pairs", number).random() * ground.seconds["train"]
    ended = _side_by_side([(one, ["train"]), (other, ["train"])], later)
    return _told(ended, [(one, ground.until("train")), (other, ground.until("train"))])


def _evaluations(ground: Ground, seed: int, number: int, folder: Path) -> Found:
    """Training and evaluation; the second with another bootstrap, so that only its scores differ."""
    one, other = _two(ground, folder, "train")
    set_params(other.work, {"evaluate.bootstrap": 150})
    later = random_of(seed, "evaluations", number).random() * ground.seconds["train"]
    ended = _side_by_side([(one, ["train", "evaluate"]), (other, ["train", "evaluate"])], later)
    return _told(
        ended,
        [
            (one, ground.until("evaluate")),
            (other, ground.until("train") | {"data/predictions/demo.csv": ground.files["evaluate"]["data/predictions/demo.csv"]}),
        ],
    )


def _corpora(ground: Ground, seed: int, number: int, folder: Path) -> Found:
    """The stages of two corpora of the same content at once in one folder, as ``dvc repro`` in two terminals would, without its lock."""
    place = ground.lay(folder, "download")
    from ruamel.yaml import YAML

    demo = YAML(typ="safe", pure=True).load(place.work / "params.yaml")["corpora"]["demo"]
    set_params(place.work, {"corpora.twin": demo, "datasets": ["demo", "twin"]})
    stages = ["download", "preprocess", "split", "features", "encode", "train"]
    later = random_of(seed, "corpora", number).random() * 2
    ended = _side_by_side([(place, stages), (place, stages)], later, ("demo", "twin"))
    found, outcomes = _told(ended, [(place, {})])
    expected = ground.until("train")
    wrong = differing(place.work, expected)
    same = {name: known for name, known in expected.items() if name.endswith((".npy", ".safetensors"))}
    wrong += differing(place.work, {name.replace("/demo", "/twin"): known for name, known in same.items()})
    return found + [Finding("loss", name) for name in wrong], outcomes


def _two(ground: Ground, folder: Path, before: str) -> tuple[Place, Place]:
    """Two work folders with one cache."""
    one, other = (ground.lay(folder / name, before) for name in ("one", "other"))
    other.cache.rmdir()
    other.cache.symlink_to(one.cache)
    return one, other


def _side_by_side(runs: list[tuple[Place, list[str]]], later: float, corpora: tuple[str, str] = ("demo", "demo")) -> list[Ended]:
    """The stages of each run, one after the other in one child; the second begins later."""
    running = []
    for (place, stages), corpus in zip(runs, corpora, strict=True):
        running.append(child.start(partial(_stages, stages, corpus), place.work, place.environment()))
        if len(running) == 1:
            time.sleep(later)
    return [one.wait(2 * SECONDS) for one in running]


def _stages(stages: list[str], corpus: str) -> None:
    for stage in stages:
        child.stage(stage, corpus)


def _told(ended: list[Ended], expected: list[tuple[Place, dict[str, str]]]) -> Found:
    found = []
    for number, one in enumerate(ended, 1):
        if one.hung:
            found.append(Finding("hang", f"number {number}: {ended_of(one.said)}"))
        elif one.code != 0:
            found.append(Finding("traceback" if one.traced else "loss", f"number {number} ends with {one.code}: {ended_of(one.said)}"))
    for place, files in expected:
        found += [Finding("loss", name) for name in differing(place.work, files)]
        found += [Finding("leftover", name) for name in place.left(hashes(place.work))]
    waited = sum("waiting for its result" in one.said for one in ended)
    return found, Counter({"pairs of which one waited": waited, "pairs": 1})


def _temporary(ground: Ground, seed: int, number: int, folder: Path) -> Found:
    copy = project.copied(ground, folder)
    commands = [
        ["dvc", "exp", "run", "--temp", "-n", f"pair-{which}", "-S", f"evaluate.bootstrap={count}", "-S", "train.lr=0.001"]
        for which, count in (("one", 110), ("other", 120))
    ]
    running = [
        subprocess.Popen(command, cwd=copy.folder, env=copy.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    found = []
    for one, command in zip(running, commands, strict=True):
        try:
            said, _ = one.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            one.kill()
            found.append(Finding("hang", " ".join(command)))
            continue
        if one.returncode != 0:
            found.append(Finding("traceback" if "Traceback" in said else "loss", f"{' '.join(command)}: {ended_of(said)}"))
    return found + _same_models(copy), Counter({"pairs": 1})


def _queued(ground: Ground, seed: int, number: int, folder: Path) -> Found:
    copy = project.copied(ground, folder)
    for which, count in (("one", 110), ("other", 120)):
        copy.run("dvc", "exp", "run", "--queue", "-n", f"pair-{which}", "-S", f"evaluate.bootstrap={count}", "-S", "train.lr=0.001")
    done = copy.run("dvc", "exp", "run", "--run-all", "-j", "2", check=False, timeout=900)
    bad = done.returncode != 0 or "Failed" in done.stdout + done.stderr
    found = [Finding("loss", f"--run-all: {ended_of(done.stdout + done.stderr)}")] if bad else []
    copy.run("dvc", "queue", "stop", "--kill", check=False)
    return found + _same_models(copy), Counter({"pairs": 1})


def _same_models(copy: project.Project) -> list[Finding]:
    """Both experiments are there, with the same networks and other intervals."""
    outs = []
    for which in ("one", "other"):
        names = copy.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.splitlines()
        if not (full := [name for name in names if name.endswith(f"/pair-{which}")]):
            return [Finding("loss", f"experiment pair-{which} is not there")]
        lock = copy.run("git", "show", f"{full[0]}:dvc.lock")
        outs.append(lock.stdout.split("train@demo:")[1].split("outs:")[1].split("md5: ")[1].split()[0])
    return [] if outs[0] == outs[1] else [Finding("loss", f"the same training twice, and two models: {json.dumps(outs)}")]
