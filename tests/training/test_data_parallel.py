"""Several processes train one network as one would: same losses, nearly the same weights; they end together and go on together."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

from ser import SerError
from ser.training import data_parallel, jobs
from ser.training.inference import Trained
from tests import made
from tests.training.test_batches import write

NO_DROPOUT = {"model__dropout": 0.0, "model__cnn__dropout": 0.0, "model__transformer__dropout": 0.0}
CASES = {
    "mixup, weighted classes, shares of one and two clips": {
        "train__augment__mixup_alpha": 0.4,
        "train__batch_size": 3,
        "train__class_weight": "inverse",
        "train__ema": 0.9,
        "train__keep": "best",
    },
    "focal loss, sgd, balanced": {
        "train__loss": "focal",
        "train__optimizer": "sgd",
        "train__lr": 0.05,
        "train__batch_size": 5,
        "train__class_weight": "effective",
        "train__sampling": "balanced",
    },
    "a batch of one clip": {"train__batch_size": 2},
}


@pytest.fixture(autouse=True)
def _nothing_asked(monkeypatch):
    for name in ("SER_WORKERS", "SER_DEVICES", "WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)


def job(folder: Path, number: int, clips: int = 13, **changes: object) -> jobs.Job:
    """A fold of the made corpus with that many clips to train on."""
    params = made.params(**{"train__epochs": 5, **NO_DROPOUT, **changes})
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, made.corpus(params))
    made.table().to_csv(folder / "clips.csv", index=False)
    parts = {clip: "train" if row < clips else "valid" if row < 18 else "test" for row, clip in enumerate(made.table()["clip"])}
    folds = folder / f"folds{number}.csv"
    pd.DataFrame([{"clip": clip, "fold": number, "part": part} for clip, part in parts.items()]).to_csv(folds, index=False)
    return jobs.Job(folder, folder, folds, made.trained(params), number, 0, folder / f"check{number}", folder / f"weights{number}")


def runtime(devices: int):
    return made.params(runtime__workers=1, runtime__devices=devices, runtime__device="cpu").runtime


def test_two_processes_train_as_one_does(tmp_path):
    found = {}
    for devices in (1, 2):
        clips = {"a batch of one clip": 3}
        planned = [
            job(tmp_path / str(devices), number, clips.get(name, 13), **changes) for number, (name, changes) in enumerate(CASES.items(), 1)
        ]
        found[devices] = (pd.DataFrame(jobs.train(planned, runtime(devices), tmp_path / "log")), [load_file(one.out) for one in planned])
        said = [line for line in (tmp_path / "log").read_text().splitlines() if " epoch " in line]
        assert len(said) == len(found[devices][0]) == 5 * len(CASES)  # by one process of each
    (alone, weights_alone), (together, weights_together) = found[1], found[2]
    assert (alone["fold"].tolist(), alone["epoch"].tolist()) == (together["fold"].tolist(), together["epoch"].tolist())
    for column in ("train_loss", "valid_loss", "valid_ua", "lr"):
        np.testing.assert_allclose(together[column], alone[column], atol=1e-4, err_msg=column)
    for one, two in zip(weights_alone, weights_together, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            torch.testing.assert_close(two[name], one[name], atol=1e-3, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


class Failing(Trained):
    """This training ends at the batch, in the process and the way its notes say."""

    @property
    def max_frames(self) -> int:
        self.notes["batches"] += 1
        batch, end = self.notes["ends"].get(data_parallel.rank(), (None, None))
        if self.notes["batches"] == batch:
            end()
        return super().max_frames


def failing(one: jobs.Job, ends: dict) -> jobs.Job:
    """The job, with the batch at which it ends and how, of each process that does."""
    return replace(one, trained=Failing(**{**vars(one.trained), "notes": {"batches": 0, "ends": ends}}))


PAST_CHECKPOINT = 2 * (3 * 4 + 1) + 1
"""Each batch asks for ``max_frames`` twice. In this batch of the second process the first process has passed the checkpoint
of the third epoch; it is the second batch of the fourth."""


def cannot_go_on() -> None:
    raise SerError("the second process cannot go on")


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_after_the_other_failed() -> None:
    time.sleep(1)
    dies()


def fails() -> None:
    raise RuntimeError("Connection reset by peer")


@pytest.mark.slow
def test_an_error_in_one_process_ends_all_and_a_rerun_gives_the_same_bytes(tmp_path):
    whole, cut = (job(tmp_path / name, 1, train__batch_size=3, train__augment__mixup_alpha=0.4) for name in ("whole", "cut"))
    with pytest.raises(SerError, match="the second process cannot go on"):
        jobs.train([failing(cut, {1: (PAST_CHECKPOINT, cannot_go_on)})], runtime(2), tmp_path / "log")
    assert not cut.out.exists()
    history = jobs.train([whole, cut], runtime(2), tmp_path / "log")
    assert "resumes after epoch 3 of 5" in (tmp_path / "log").read_text()
    assert history[:5] == history[5:]
    assert whole.out.read_bytes() == cut.out.read_bytes()


@pytest.mark.parametrize(
    "ends",
    [{1: (PAST_CHECKPOINT, dies)}, {0: (1, fails), 1: (1, dies_after_the_other_failed)}],
    ids=["between checkpoints", "the other fails first"],
)
def test_the_death_of_one_process_ends_all(tmp_path, monkeypatch, ends):
    monkeypatch.setattr(jobs, "DEATH_SEEN_WITHIN", 120.0)
    with pytest.raises(SerError, match=r"a training process died.*a rerun"):
        jobs.train([failing(job(tmp_path, 1, train__batch_size=3), ends)], runtime(2), tmp_path / "log")


@pytest.mark.slow
def test_a_failure_that_no_death_explains_is_told_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "DEATH_SEEN_WITHIN", 0.1)
    with pytest.raises(RuntimeError, match=r"^Connection reset by peer$"):
        jobs.train([failing(job(tmp_path, 1, train__batch_size=3), {0: (1, fails)})], runtime(2), tmp_path / "log")


@pytest.mark.slow
def test_processes_that_torchrun_started_train_together_and_draw_dropout_of_their_own(tmp_path):
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun's agent holds it
    one = job(tmp_path, 1, clips=12, train__batch_size=12, train__epochs=1, model__cnn__dropout=0.5)
    mp.spawn(_as_if_by_torchrun, (store.port, one, tmp_path), 2)
    assert [(tmp_path / f"rows{rank}").read_text() for rank in (0, 1)] == ["1", "0"]
    assert one.out.exists()
    first, second = (load_file(tmp_path / f"dropped{rank}") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert len(first) == 6  # three stages of two CNNs, one batch
    for name in first:
        assert first[name].shape == second[name].shape
        assert 0 < first[name].float().mean() < 1
    assert not any(torch.equal(first[name], second[name]) for name in first)


def _as_if_by_torchrun(rank: int, port: int, one: jobs.Job, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    dropped = {}
    dropout = torch.nn.functional.dropout

    def seen(x, p=0.5, training=True, inplace=False):
        y = dropout(x, p, training, inplace)
        if p > 0 and training:
            dropped[str(len(dropped))] = y == 0
        return y

    torch.nn.functional.dropout = seen
    history = jobs.train([one], runtime(1), folder / "log")
    (folder / f"rows{rank}").write_text(str(len(history)))
    save_file(dropped, folder / f"dropped{rank}")


@pytest.mark.parametrize("clips", [0, 1, 2, 3, 7, 64])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_shares_are_the_batch_cut_evenly(monkeypatch, clips, processes):
    monkeypatch.setattr(data_parallel, "processes", lambda: processes)
    shares = []
    for rank in range(processes):
        monkeypatch.setattr(data_parallel, "rank", lambda rank=rank: rank)
        shares.append(np.arange(clips)[data_parallel.share(clips)])
    assert np.concatenate(shares).tolist() == list(range(clips))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_nodes_that_do_not_see_the_same_checkpoint_are_told_so(monkeypatch):
    monkeypatch.setattr(data_parallel, "rank", lambda: 1)
    monkeypatch.setattr(data_parallel, "summed", lambda *values, device: [4.0 + sum(values)])  # rank 0 is at epoch 4
    data_parallel.check_same_start(4, torch.device("cpu"))
    with pytest.raises(SerError, match=r"rank 1 would resume after epoch 0, rank 0 after epoch 4.*cache_dir"):
        data_parallel.check_same_start(0, torch.device("cpu"))


def test_more_devices_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert jobs.together(6, torch.device("cuda"), made.params().runtime) == 1
    assert jobs.together(1, torch.device("cuda"), made.params().runtime) == 2
    with pytest.raises(SerError, match=r"runtime\.devices asks for 4 devices .* cuda has 2"):
        jobs.together(6, torch.device("cuda"), made.params(runtime__devices=4).runtime)
    with pytest.raises(SerError, match="mps has 1"):
        jobs.together(6, torch.device("mps"), made.params(runtime__devices=2).runtime)
