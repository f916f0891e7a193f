"""Checkpoints: written at once, read without running code, found only by an identical training."""

import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
import torch
from safetensors.torch import save

from ser import SerError
from ser.training import checkpoint


def test_a_written_checkpoint_comes_back(tmp_path):
    tensors = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor(3)}
    facts = {"epoch": 3, "history": [{"loss": 0.125}], "text": "ü"}
    assert checkpoint.read(tmp_path / "x/y.safetensors") is None
    checkpoint.write(tmp_path / "x/y.safetensors", tensors, facts)
    read, told = checkpoint.read(tmp_path / "x/y.safetensors")
    assert told == facts
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["y.safetensors"]


def test_an_interrupted_write_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "y.safetensors"
    checkpoint.write(path, {"a": torch.zeros(2)}, {"epoch": 1})
    monkeypatch.setattr(checkpoint.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(path, {"a": torch.ones(2)}, {"epoch": 2})
    tensors, facts = checkpoint.read(path)
    assert facts == {"epoch": 1}
    assert torch.equal(tensors["a"], torch.zeros(2))


def test_two_processes_may_write_the_same_checkpoint(tmp_path):
    """As when two experiments of one queue differ in nothing that training sees."""
    path = tmp_path / "y.safetensors"
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for done in [pool.submit(_write_often, path) for _ in range(2)]:
            done.result()
    assert checkpoint.read(path)[1] == {"epoch": 299}
    assert [left.name for left in tmp_path.iterdir()] == ["y.safetensors"]


def _write_often(path):
    for epoch in range(300):
        checkpoint.write(path, {"a": torch.zeros(2)}, {"epoch": epoch})


def test_the_fingerprint_sees_parameters_inputs_and_code(tmp_path):
    data, code = tmp_path / "data.npy", tmp_path / "code"
    data.write_bytes(b"one")
    code.mkdir()
    (code / "a.py").write_text("x = 1")
    first = checkpoint.fingerprint({"lr": 0.1}, [data, code])
    assert first == checkpoint.fingerprint({"lr": 0.1}, [code, data])
    assert first != checkpoint.fingerprint({"lr": 0.2}, [data, code])
    data.write_bytes(b"two")
    second = checkpoint.fingerprint({"lr": 0.1}, [data, code])
    assert second != first
    (code / "a.py").write_text("x = 2")
    assert checkpoint.fingerprint({"lr": 0.1}, [data, code]) != second


def test_an_optimizer_comes_back():
    def step(weight, optimizer):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()

    weight = torch.nn.Parameter(torch.arange(3.0))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    step(weight, optimizer)
    stored, copy = checkpoint.optimizer_tensors(optimizer), torch.nn.Parameter(weight.detach().clone())
    other = torch.optim.AdamW([copy], lr=0.1)
    checkpoint.restore_optimizer(other, {name: tensor.clone() for name, tensor in stored.items()})
    step(weight, optimizer)
    step(copy, other)
    assert torch.equal(weight, copy)


@pytest.mark.parametrize("spoil", ["cut", "empty", "flipped", "garbage", "header", "another program's"])
def test_a_damaged_checkpoint_is_set_aside_and_training_begins_anew(tmp_path, caplog, spoil):
    path = tmp_path / "y.safetensors"
    checkpoint.write(path, {"a": torch.arange(64.0)}, {"epoch": 1})
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    spoilt = {
        "cut": whole[:-50],
        "empty": b"",
        "flipped": bytes(flipped),
        "garbage": b"\xff" * len(whole),
        "header": whole[8:],
        "another program's": save({"a": torch.zeros(2)}),
    }
    path.write_bytes(spoilt[spoil])
    assert checkpoint.read(path) is None
    assert "y.safetensors is damaged" in caplog.text
    assert "y.safetensors.damaged" in caplog.text
    assert (tmp_path / "y.safetensors.damaged").read_bytes() == spoilt[spoil]
    checkpoint.write(path, {"a": torch.zeros(2)}, {"epoch": 1})
    assert checkpoint.read(path) is not None


@pytest.mark.parametrize("other", ["x-1/fold2-seed0.safetensors", "x-2/fold1-seed0.safetensors"], ids=["fold", "training"])
def test_a_checkpoint_of_another_fold_or_training_is_not_used(tmp_path, caplog, other):
    """It has the same shapes, and its checksum holds."""
    path = tmp_path / "x-1/fold1-seed0.safetensors"
    for one in (path, tmp_path / other):
        checkpoint.write(one, {"a": torch.zeros(2)}, {"epoch": 1})
    path.write_bytes((tmp_path / other).read_bytes())
    assert checkpoint.read(path) is None
    assert path.with_name("fold1-seed0.safetensors.damaged").exists()
    assert not path.exists()
    assert f"the checkpoint {other}" in caplog.text


def test_identical_trainings_take_turns_and_the_last_removes_the_checkpoints(tmp_path, caplog):
    """Locks are of open files, so two threads take turns as two processes do."""
    caplog.set_level("INFO")
    folder = tmp_path / "checkpoints" / "demo-0123"
    with ThreadPoolExecutor(1) as other:
        with checkpoint.in_turn(folder):
            second = other.submit(_take_a_turn, folder)
            while "demo-0123: an identical training runs" not in caplog.text:
                assert not second.done()
                time.sleep(0.01)
            folder.mkdir()
            (folder / "finished").touch()
        assert second.result() == ["finished"]
    assert list(folder.parent.iterdir()) == []


def _take_a_turn(folder):
    with checkpoint.in_turn(folder):
        return [path.name for path in folder.iterdir()]


def test_after_an_error_the_checkpoints_stay(tmp_path):
    folder = tmp_path / "demo-0123"
    with pytest.raises(KeyboardInterrupt):
        _train_and_be_interrupted(folder)
    assert folder.is_dir()
    with checkpoint.in_turn(folder):
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def _train_and_be_interrupted(folder):
    with checkpoint.in_turn(folder):
        folder.mkdir()
        raise KeyboardInterrupt


def test_changed_weights_are_refused(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    path = folder / "fold1-seed0.safetensors"
    path.write_bytes(save({"a": torch.arange(64.0)}))
    checkpoint.write_checksums(folder)
    assert torch.equal(checkpoint.read_weights(path)["a"], torch.arange(64.0))
    whole = path.read_bytes()
    for spoilt in (b"", whole[:-1], bytes(len(whole)), whole[:-5] + b"\x01" + whole[-4:]):
        path.write_bytes(spoilt)
        with pytest.raises(SerError, match=r"fold1-seed0.safetensors is damaged or of another run: its SHA-256.*dvc repro train@demo"):
            checkpoint.read_weights(path)
    (folder / "checksums.json").unlink()
    path.write_bytes(whole[:-1])
    with pytest.raises(SerError, match=r"fold1-seed0.safetensors is damaged or of another run.*dvc repro train@demo"):
        checkpoint.read_weights(path)
