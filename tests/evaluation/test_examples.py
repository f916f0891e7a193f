"""Clips to look into: chosen, collected, written, read."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from ser import SerError
from ser.evaluation import examples
from ser.evaluation.predictions import out_of_fold
from ser.signal.clips import Clips
from ser.views.features import Views
from tests import predicted


@pytest.fixture(scope="module")
def test():
    table = predicted.clips()
    return out_of_fold(predicted.predictions(table, seeds=(0, 1), skill=1.0), table)


def test_half_right_half_wrong_each_emotion_first(test):
    chosen = examples.choose(test, 8, np.inf)
    right = test.predicted[chosen] == test.actual[chosen]
    assert right.tolist() == [True] * 4 + [False] * 4
    assert set(test.actual[chosen[:4]]) == set(test.actual[chosen[4:]]) == {0, 1, 2, 3}
    assert (test.seed[chosen] == 0).all()
    angry = np.flatnonzero((test.seed == 0) & (test.actual == 3) & (test.predicted == 3))
    assert test.probabilities[angry].max() in test.probabilities[chosen[:4]].max(axis=1)


def test_fewer_mistakes_than_asked_for():
    table = predicted.clips()
    flawless = out_of_fold(predicted.predictions(table, skill=60), table)
    assert len(examples.choose(flawless, 6, np.inf)) == 6
    assert len(examples.choose(flawless, 0, np.inf)) == 0


def test_long_clips_are_left_out(test):
    chosen = examples.choose(test, 6, 2 * predicted.RATE)
    assert len(chosen) == 6
    assert (test.rows["samples"].iloc[chosen] <= 2 * predicted.RATE).all()
    assert len(examples.choose(test, 6, 10)) == 0


def test_what_is_written_comes_back_and_is_the_same_bytes(test, tmp_path):
    table = predicted.clips()
    random = np.random.default_rng(0)
    audio = random.integers(-2000, 2000, int(table["samples"].sum())).astype(np.int16)
    lengths = table["samples"].to_numpy() // 400
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    views = Views({"log_mel": random.normal(-40, 9, (offsets[-1], 8)).astype(np.float16)}, offsets)
    clips = Clips(table, audio, predicted.RATE)

    def attend(row: int, fold: int) -> dict[str, np.ndarray]:
        assert fold == test.rows.loc[test.rows["clip"] == table["clip"].iloc[row], "fold"].iloc[0]
        return {"cnn": np.full(lengths[row], 1 / lengths[row])}

    chosen = examples.choose(test, 4, np.inf)
    found = examples.collect(test, chosen, clips, views, attend)
    examples.write(tmp_path / "a.npz", found)
    examples.write(tmp_path / "b.npz", found)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as members:  # Python writes what needs zip64 in other bytes since 3.11.4
        assert {entry.extract_version for entry in members.infolist()} == {20}
    back = examples.read(tmp_path / "a.npz")
    assert [one.about for one in back] == [one.about for one in found]
    for one, index in zip(back, chosen, strict=True):
        row = table.set_index("clip").loc[one.about["clip"]]
        assert one.about["actual"] == row["emotion"]
        assert sum(one.about["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        np.testing.assert_array_equal(one.audio, audio[row["offset"] : row["offset"] + row["samples"]])
        assert one.log_mel.shape == (row["samples"] // 400, 8)
        assert one.attention["cnn"].sum() == pytest.approx(1, abs=1e-4)
        assert one.sample_rate == predicted.RATE
        assert one.about["predicted"] == test.classes[test.predicted[index]]


def test_no_examples_are_fine(tmp_path):
    examples.write(tmp_path / "none.npz", [])
    assert examples.read(tmp_path / "none.npz") == []


def test_foreign_files_are_refused(tmp_path):
    with pytest.raises(SerError, match="not found"):
        examples.read(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(SerError, match="is damaged or of another run"):
        examples.read(tmp_path / "other.npz")
    np.savez(tmp_path / "pickled.npz", about=np.array([{"a": 1}], dtype=object))
    with pytest.raises(SerError, match="is damaged or of another run"):
        examples.read(tmp_path / "pickled.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(SerError, match="is damaged or of another run"):
        examples.read(tmp_path / "text.npz")
